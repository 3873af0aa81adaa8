// SPDX-License-Identifier: MIT

package import XenBus
import XenInterface

extension ChannelBackend.Action: StoreScriptAction {}

// What the console's machine reads and writes, and how it takes the answers.
extension PrimaryConsoleBackend: StoreScriptRunner {
    package mutating func finish(
        _ look: Look?,
        _ replies: StoreReplies,
        into actions: inout ActionList<Action>
    ) {
        switch (look, state) {
        case (.own, _):
            if replies[0].nodeValue == nil { wantsToEnd = true }
        case (.numbers, _):
            understand(replies.values, into: &actions)
        case (nil, .subscribing):
            // The watch fires at once (D27): that is when the console is read first.
            isWatching = true
            state = .waiting
        case (nil, .publishing):
            state = .serving
        case (nil, .retracting):
            finish(into: &actions)
        case (nil, .idle), (nil, .waiting), (nil, .attaching), (nil, .opening), (nil, .serving), (nil, .detaching),
            (nil, .finished):
            break
        }
    }

    /// The store refuses: without a watch nothing can be served; without `tty` nobody finds the pty, but what the guest writes is taken.
    package mutating func handleFailure(
        _ failure: StoreFailure,
        into actions: inout ActionList<Action>
    ) {
        report(DeviceDiagnostic(failure.request.node ?? paths.frontend, .refused(failure.code)), into: &actions)
        switch state {
        case .subscribing: finish(into: &actions)
        case .publishing:
            state = .serving
            react(into: &actions)
        case .retracting: finish(into: &actions)
        case .idle, .waiting, .attaching, .opening, .serving, .detaching, .finished:
            react(into: &actions)
        }
    }

    /// Takes up what the toolstack wrote. What is missing is waited for, and what is there already is kept meanwhile (B5).
    private mutating func understand(
        _ values: [StoreValue?],
        into actions: inout ActionList<Action>
    ) {
        if let type = values[2], type.text != PrimaryConsoleBackend.type { return }
        guard let ring = values[0], let port = values[1] else { return }
        guard let frame = ring.decimal(UInt64.self) else {
            return refuse("ring-ref", ring, "a frame's number", into: &actions)
        }
        guard let number = port.decimal(UInt32.self), number > 0 else {
            return refuse("port", port, "a port above 0", into: &actions)
        }
        let limit = values[3]?.decimal(Int.self) ?? 0
        let new = Numbers(
            frame: FrameNumber(frame),
            port: EventChannelPort(number),
            limit: limit > 0 ? limit : ChannelAttachment.defaultLimit
        )
        guard let numbers else { return attach(new, into: &actions) }
        guard numbers.frame != new.frame || numbers.port != new.port else { return }
        next = new
        detach(into: &actions)
    }

    private mutating func refuse(
        _ name: String,
        _ value: StoreValue,
        _ wanted: String,
        into actions: inout ActionList<Action>
    ) {
        let node = paths.frontend.appending(name)
        report(DeviceDiagnostic(node, .unexpected(value, wanted: wanted)), into: &actions)
    }

    /// Tells the pty's device, if the console is still there: a plain write would make its directory anew (D16).
    mutating func publish(_ tty: String?, into actions: inout ActionList<Action>) {
        guard let tty else {
            state = .serving
            return react(into: &actions)
        }
        let steps = [
            StoreStep(.read(paths.frontend)), StoreStep(.write(paths.frontend.appending("tty"), StoreValue(tty))),
        ]
        enter(.publishing, running: steps, transaction: true, into: &actions)
    }
}
