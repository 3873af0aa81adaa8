// SPDX-License-Identifier: MIT

/// What stands outside of a ring: a client's socket, a terminal, a program's pipes, as one stream in each direction.
final class Outlet {
    private let input: Reactor.Source
    private let output: Reactor.Source
    private let isOneDescriptor: Bool
    private let reference: OutletReference
    private var wantsInput = false
    private var wantsOutput = false
    /// The end that is read from hung up: there may be bytes to read still, but no more are made.
    private(set) var isHungUp = false
    /// It became readable, and was not read from since: one piece at a time, so that others have their turn.
    private(set) var mayRead = false
    /// After a full piece another may be read before it is asked whether it is readable: each question costs as much as many bytes.
    private var mayReadOn = false
    private var lastReadWasFull = false
    /// The last read met the end of the stream.
    private(set) var isEnded = false
    /// A write failed, or the end that is written to hung up: bytes towards it must wait for the next one.
    private(set) var isDeaf = false

    /// Makes an outlet; `onReady` is called when a wanted direction may be ready, or the other end hung up.
    init(
        on reactor: Reactor,
        input: Descriptor,
        output: Descriptor? = nil,
        onReady: @escaping (Outlet) -> Void
    ) {
        let target = OutletReference()
        reference = target
        let isOneDescriptor = output == nil
        func handler(reads: Bool, writes: Bool) -> (Reactor.Readiness) -> Void {
            { readiness in
                guard let outlet = target.outlet else { return }
                outlet.note(readiness, reads: reads, writes: writes)
                onReady(outlet)
            }
        }
        self.isOneDescriptor = isOneDescriptor
        self.input = reactor.add(input, for: [], handler: handler(reads: true, writes: isOneDescriptor))
        self.output =
            output.map { reactor.add($0, for: [], handler: handler(reads: false, writes: true)) } ?? self.input
        target.outlet = self
    }

    deinit {
        close()
    }

    /// Takes both directions out of the loop; the descriptors close when nobody else holds them.
    func close() {
        reference.outlet = nil
        input.cancel()
        output.cancel()
    }

    /// Says what to wait for. A direction that is over is not waited for.
    func want(input wantsInput: Bool, output wantsOutput: Bool) {
        self.wantsInput = wantsInput && !isEnded
        self.wantsOutput = wantsOutput && !isDeaf
        apply()
    }

    /// Reads what there is into the free space of `output`, once.
    func read(appendingTo output: inout OutputSpan<UInt8>) -> Descriptor.Transfer {
        mayRead = false
        let transfer = input.descriptor.read(appendingTo: &output)
        switch transfer {
        case .end, .gone: isEnded = true
        case .moved, .wait: break
        }
        lastReadWasFull = output.freeCapacity == 0
        return transfer
    }

    /// All that was read went its way: after as much as was asked for there is probably more, and no need to ask. Once only, for the sake of
    /// others.
    func readOn() {
        guard lastReadWasFull, mayReadOn else { return }
        lastReadWasFull = false
        mayReadOn = false
        mayRead = true
    }

    /// Writes as much as goes, once.
    func write(_ bytes: Span<UInt8>) -> Descriptor.Transfer {
        let transfer = output.descriptor.write(bytes)
        if case .gone = transfer { isDeaf = true }
        return transfer
    }

    /// Whether nothing can come from it and nothing can go to it any more.
    ///
    /// A program that closed only its output still takes input, and one that closed only its input still speaks.
    var isOver: Bool { isEnded && isDeaf }

    private func note(_ readiness: Reactor.Readiness, reads: Bool, writes: Bool) {
        if readiness.contains(.readable) {
            mayRead = true
            mayReadOn = true
        }
        guard !readiness.isDisjoint(with: [.hungUp, .failed]) else { return }
        if reads {
            isHungUp = true
            mayRead = true
        }
        if writes { isDeaf = true }
    }

    private func apply() {
        if isOneDescriptor {
            var interest: Reactor.Readiness = []
            if wantsInput { interest.insert(.readable) }
            if wantsOutput { interest.insert(.writable) }
            // A hang-up is reported without end: once it is known, only reading on is worth being called for.
            input.interest = isHungUp && !wantsInput ? nil : interest
        } else {
            input.interest = wantsInput ? .readable : nil
            output.interest = isDeaf ? nil : wantsOutput ? .writable : []
        }
    }
}

/// Lets a handler refer to the outlet that is being made, until that is closed. Not weak, which would make each use of the outlet slow.
private final class OutletReference {
    unowned var outlet: Outlet?
}
