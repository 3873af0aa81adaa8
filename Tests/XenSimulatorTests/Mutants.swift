// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenInterface
import XenRing
import XenSimulator

/// A part of the world, broken on purpose: every way to be wrong is switched on alone.
final class Mutant: Substitution {
    enum Bug: String, CaseIterable, Sendable {
        case noNotificationAfterWriting
        case noNotificationAfterReading
        case shortWriteIgnored
        case readsWithoutLookingAtTheIndex
        case givesBackMoreThanItRead
        case writesThePeersIndex
        case publishesMoreThanItWrote
        case wakeupLostBeforeSleeping
        case eventIgnoredWhileBusy
        case grantFreedWhileMapped
        case pageNotReleased
        case ringNotUnmapped
        case watchNotDropped
        case watchNotReadAgain
        case frontendIgnoresTheEnd
        case backendIgnoresRemoval
        case scannerListsOnce
        case conflictTakenForSuccess
        case connectsBeforeTheFrontendIsReady
        case ringJoinedTwice
        case closingTakenForConnected
        case backendSkipsAState
        case bytesInDisorder
        case readsOutsideTheRing
        case movesItsIndexBack
        case holdsMoreThanItMay
        case usesThePageAfterUnmapping
        case portLeftOpen
        case transactionLeftOpen
        case frontendWritesTheBackendsState
        case backendWritesTheFrontendsState
        case frontendClosesInDisorder
        case lastBytesThrownAway
    }

    let bug: Bug
    private var listings = 0
    private var unmapped: SimulatedPage?

    init(_ bug: Bug) {
        self.bug = bug
    }

    // MARK: Bytes

    func drain(_ ring: inout ConsoleRing<SimulatedPage>, into relay: inout RingRelay) -> Bool {
        let before = ring.input.index
        if bug == .holdsMoreThanItMay { relay.limit = .max }
        let moved = relay.drain(&ring)
        if bug == .holdsMoreThanItMay { relay.limit = 100 }
        if bug == .lastBytesThrownAway, ring.input.index == RingIndex(3000) { relay.handedOut(relay.backlog.count) }
        unmapped = ring.input.memory
        let memory = ring.input.memory
        let layout = ring.input.layout
        switch bug {
        case .noNotificationAfterReading:
            return false
        case .readsWithoutLookingAtTheIndex:
            unsafe withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { buffer in
                let position = (before + 1).position(in: layout.capacity)
                unsafe memory.copyOut(at: layout.data + position, into: buffer)
            }
        case .readsOutsideTheRing:
            unsafe withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { buffer in
                unsafe memory.copyOut(at: layout.data + Int(layout.capacity), into: buffer)
            }
        case .movesItsIndexBack:
            memory.storeRelease(ring.input.index.rawValue &- 1, at: layout.consumerIndex)
        case .givesBackMoreThanItRead:
            memory.storeRelease((ring.input.index + 1).rawValue, at: layout.consumerIndex)
        default:
            break
        }
        return moved
    }

    func room(in ring: inout ConsoleRing<SimulatedPage>, for relay: inout RingRelay) -> Int {
        bug == .shortWriteIgnored ? ring.output.capacity : relay.room(in: &ring)
    }

    func send(_ bytes: Span<UInt8>, to ring: inout ConsoleRing<SimulatedPage>, by relay: inout RingRelay) -> Bool {
        let layout = ring.output.layout
        let memory = ring.output.memory
        switch bug {
        case .shortWriteIgnored:
            return (try? ring.output.write(bytes)) ?? 0 > 0
        case .noNotificationAfterWriting:
            _ = relay.send(bytes, to: &ring)
            return false
        case .writesThePeersIndex:
            memory.storeRelease(ring.output.index.rawValue, at: layout.consumerIndex)
        case .bytesInDisorder:
            var reversed: [UInt8] = []
            for index in bytes.indices { reversed.insert(bytes[index], at: 0) }
            return relay.send(reversed.span, to: &ring)
        case .publishesMoreThanItWrote:
            memory.storeRelease((ring.output.index + 1).rawValue, at: layout.producerIndex)
        default:
            break
        }
        return relay.send(bytes, to: &ring)
    }

    func looksAtRing(after _: EventChannelPort, side _: ConsoleRole, isBusy: Bool) -> Bool {
        bug == .eventIgnoredWhileBusy ? !isBusy : true
    }

    func forgetsEventsBeforeSleeping(side _: ConsoleRole) -> Bool { bug == .wakeupLostBeforeSleeping }
    func freesMappedPage() -> Bool { bug == .grantFreedWhileMapped }
    func closesPort() -> Bool { bug != .portLeftOpen }

    // MARK: Machines

    func handle(_ event: ChannelFrontend.Event, by machine: inout ChannelFrontend) -> [ChannelFrontend.Action] {
        switch (bug, event) {
        case (.frontendIgnoresTheEnd, .removed), (.frontendIgnoresTheEnd, .ownChanged): return []
        case (.frontendIgnoresTheEnd, .backendChanged) where machine.state == .connected: return []
        case (.watchNotReadAgain, .backendChanged) where machine.state != .connected: return []
        case (.conflictTakenForSuccess, .reply(.failure(.again))): return machine.handle(.reply(.done))
        default: break
        }
        let actions = machine.handle(event)
        if bug == .frontendWritesTheBackendsState {
            let paths = DevicePaths(frontend: machine.key.frontend, backend: .dom0, device: machine.key.device)
            return actions.map { $0.writingState(at: paths.backend) }
        }
        if bug == .frontendClosesInDisorder { return actions.map(\.exchangingClosingAndClosed) }
        guard bug == .pageNotReleased, actions.contains(.release) else { return actions }
        return actions.filter { $0 != .release } + machine.handle(.released)
    }

    func handle(_ event: ChannelBackend.Event, by machine: inout ChannelBackend) -> [ChannelBackend.Action] {
        switch (bug, event) {
        case (.backendIgnoresRemoval, .ownChanged): return []
        case (.conflictTakenForSuccess, .reply(.failure(.again))): return machine.handle(.reply(.done))
        case (.connectsBeforeTheFrontendIsReady, .reply(.value("1"))) where machine.state == .waiting:
            return machine.handle(.reply(.value("3")))
        case (.connectsBeforeTheFrontendIsReady, .reply(.failure(.noEntry))) where machine.state == .fetching:
            return machine.handle(.reply(.value("7")))
        case (.usesThePageAfterUnmapping, .detached): _ = unmapped?.loadAcquire(at: RingLayout.consoleOut.producerIndex)
        case (.closingTakenForConnected, .reply(.value("5"))), (.closingTakenForConnected, .reply(.value("6"))):
            return machine.handle(.reply(.value("4")))
        default: break
        }
        return machine.handle(event).flatMap { change($0, &machine) }
    }

    private func change(_ action: ChannelBackend.Action, _ machine: inout ChannelBackend) -> [ChannelBackend.Action] {
        switch (bug, action) {
        case (.ringNotUnmapped, .detach): return machine.handle(.detached)
        case (.ringJoinedTwice, .attach): return [action, action]
        case (.watchNotDropped, .store(.unwatch(let path, _), let transaction)):
            return [.store(.read(path), in: transaction)]
        case (.transactionLeftOpen, .store(.write(let path, "2"), _)): return [.store(.write(path, "2"), in: .none)]
        case (.transactionLeftOpen, .store(.endTransaction(commit: true), _)): return machine.handle(.reply(.done))
        case (.backendWritesTheFrontendsState, .store(.write(let path, let value), let transaction)):
            guard path.lastComponent == "state" else { return [action] }
            return [.store(.write(machine.paths.frontend.appending("state"), value), in: transaction)]
        case (.backendSkipsAState, .store(.write(let path, "2"), let transaction)) where path.lastComponent == "state":
            return [.store(.write(path, "7"), in: transaction)]
        default: return [action]
        }
    }

    func handle(_ event: DeviceScanner.Event, by machine: inout DeviceScanner) -> [DeviceScanner.Action] {
        guard bug == .scannerListsOnce, case .changed = event else { return machine.handle(event) }
        listings += 1
        return listings > 2 ? [] : machine.handle(event)
    }
}

extension ChannelFrontend.Action {
    /// The same, with state 6 for 5 and 5 for 6.
    fileprivate var exchangingClosingAndClosed: Self {
        guard case .store(.write(let path, let value), let transaction) = self, path.lastComponent == "state" else {
            return self
        }
        let other: StoreValue = value == "5" ? "6" : value == "6" ? "5" : value
        return .store(.write(path, other), in: transaction)
    }

    /// The same, with the state written into another directory.
    fileprivate func writingState(at directory: StorePath) -> Self {
        guard case .store(.write(let path, let value), let transaction) = self, path.lastComponent == "state" else {
            return self
        }
        return .store(.write(directory.appending("state"), value), in: transaction)
    }
}
