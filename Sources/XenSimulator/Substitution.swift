// SPDX-License-Identifier: MIT

public import XenBus
public import XenChannels
public import XenInterface
public import XenRing

/// What stands in a simulated world in place of the parts that ship: somebody else's frontend, backend or relay, to be tested by this
/// world, or one of ours that is broken on purpose, to test the tests.
///
/// Each requirement has an implementation that does what ships; a type that conforms replaces one or two. It is called in the order of the
/// run's steps, and must decide nothing by anything else, so that recipes hold.
public protocol Substitution: AnyObject {
    /// An event of a guest's channel; `machine` is the one that ships, for this channel.
    func handle(_ event: ChannelFrontend.Event, by machine: inout ChannelFrontend) -> [ChannelFrontend.Action]

    /// An event of a backend's channel; `machine` is the one that ships, for this channel.
    func handle(_ event: ChannelBackend.Event, by machine: inout ChannelBackend) -> [ChannelBackend.Action]

    /// An event of a guest's primary console.
    func handle(
        _ event: PrimaryConsoleFrontend.Event,
        by machine: inout PrimaryConsoleFrontend
    ) -> [PrimaryConsoleFrontend.Action]

    /// An event of the backend of a primary console.
    func handle(
        _ event: PrimaryConsoleBackend.Event,
        by machine: inout PrimaryConsoleBackend
    ) -> [PrimaryConsoleBackend.Action]

    /// An event of a daemon's scanner.
    func handle(_ event: DeviceScanner.Event, by machine: inout DeviceScanner) -> [DeviceScanner.Action]

    /// Takes what the peer has produced; returns whether the peer must be notified.
    func drain(_ ring: inout ConsoleRing<SimulatedPage>, into relay: inout RingRelay) -> Bool

    /// How many bytes can go to the peer now.
    func room(in ring: inout ConsoleRing<SimulatedPage>, for relay: inout RingRelay) -> Int

    /// Puts bytes into the ring; returns whether the peer must be notified.
    func send(_ bytes: Span<UInt8>, to ring: inout ConsoleRing<SimulatedPage>, by relay: inout RingRelay) -> Bool

    /// A port of a channel is pending; returns whether its ring is looked at. `isBusy` says that the channel has other work to do.
    func looksAtRing(after port: EventChannelPort, side: ConsoleRole, isBusy: Bool) -> Bool

    /// The ring has been looked at for the last time before the channel sleeps; returns whether events that are pending are thrown away.
    func forgetsEventsBeforeSleeping(side: ConsoleRole) -> Bool

    /// A guest takes a page back that the backend still maps; returns whether it uses the page for something else at once.
    func freesMappedPage() -> Bool

    /// A side is done with its port; returns whether it closes it.
    func closesPort() -> Bool
}

extension Substitution {
    /// As it ships.
    public func handle(_ event: ChannelFrontend.Event, by machine: inout ChannelFrontend) -> [ChannelFrontend.Action] {
        machine.handle(event)
    }

    /// As it ships.
    public func handle(_ event: ChannelBackend.Event, by machine: inout ChannelBackend) -> [ChannelBackend.Action] {
        machine.handle(event)
    }

    /// As it ships.
    public func handle(
        _ event: PrimaryConsoleFrontend.Event,
        by machine: inout PrimaryConsoleFrontend
    ) -> [PrimaryConsoleFrontend.Action] {
        machine.handle(event)
    }

    /// As it ships.
    public func handle(
        _ event: PrimaryConsoleBackend.Event,
        by machine: inout PrimaryConsoleBackend
    ) -> [PrimaryConsoleBackend.Action] {
        machine.handle(event)
    }

    /// As it ships.
    public func handle(_ event: DeviceScanner.Event, by machine: inout DeviceScanner) -> [DeviceScanner.Action] {
        machine.handle(event)
    }

    /// As it ships.
    public func drain(_ ring: inout ConsoleRing<SimulatedPage>, into relay: inout RingRelay) -> Bool {
        relay.drain(&ring)
    }

    /// As it ships.
    public func room(in ring: inout ConsoleRing<SimulatedPage>, for relay: inout RingRelay) -> Int {
        relay.room(in: &ring)
    }

    /// As it ships.
    public func send(
        _ bytes: Span<UInt8>,
        to ring: inout ConsoleRing<SimulatedPage>,
        by relay: inout RingRelay
    ) -> Bool {
        relay.send(bytes, to: &ring)
    }

    /// Always.
    public func looksAtRing(after _: EventChannelPort, side _: ConsoleRole, isBusy _: Bool) -> Bool { true }

    /// Never.
    public func forgetsEventsBeforeSleeping(side _: ConsoleRole) -> Bool { false }

    /// Never.
    public func freesMappedPage() -> Bool { false }

    /// Always.
    public func closesPort() -> Bool { true }
}
