// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import Testing
import XenRing

@testable import XenChannelIO

extension Reactor {
    /// Turns the loop in the calling thread until `condition` holds; fails the test if it never does.
    func turn(until what: String, _ condition: () -> Bool) {
        Reactor.blockBrokenPipeSignal()
        let deadline = Reactor.now() &+ 20_000_000_000
        while !condition() {
            guard Reactor.now() < deadline else {
                Issue.record("turned in vain until: \(what)")
                return
            }
            // A turn sleeps until something happens; what is waited for may happen elsewhere.
            let timer = after(.milliseconds(5)) {}
            turn()
            timer.cancel()
        }
    }

    /// Counts the turns of the loop while it has `duration` to turn: a loop at rest makes one or two, a spinning one thousands.
    func turns(within duration: Duration = .milliseconds(60)) -> Int {
        Reactor.blockBrokenPipeSignal()
        var isOver = false
        var count = 0
        _ = after(duration) { isOver = true }
        while !isOver {
            turn()
            count += 1
        }
        return count
    }

    /// Turns until nothing happens any more: a few times more than anything here needs.
    func settle() {
        Reactor.blockBrokenPipeSignal()
        for _ in 0..<30 {
            let timer = after(.nanoseconds(0)) {}
            turn()
            timer.cancel()
        }
    }
}

/// A page with a guest at one side, played by the test, and a loop for the other.
final class Bench {
    let reactor: Reactor
    let memory = PageMemory()
    var guest: ConsoleRing<SharedPage>
    /// How often the guest was told.
    private(set) var notifications = 0

    init() throws {
        reactor = try Reactor()
        guest = ConsoleRing(fresh: memory.page, as: .frontend)
    }

    /// The backend's ends of the page.
    func ring() throws(RingViolation) -> AttachedRing {
        try AttachedRing(attaching: memory) { [unowned self] in notifications += 1 }
    }

    /// Writes what there is room for, without a word to the backend.
    @discardableResult
    func write(_ bytes: [UInt8]) throws -> Int {
        try guest.output.write(bytes.span)
    }

    /// Takes up to `count` bytes.
    func read(_ count: Int = 4096) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        let length = try guest.input.read(into: &span)
        return [UInt8](bytes.prefix(length))
    }

    subscript(word offset: Int) -> UInt32 {
        get { memory.page.loadAcquire(at: offset) }
        set { memory.page.storeRelease(newValue, at: offset) }
    }

    /// A pump's outlet, and the far end of it.
    func outlet(of pump: StreamPump) throws -> (Outlet, Far) {
        let (near, far) = try pair()
        return (Outlet(on: reactor, input: near) { [unowned pump] _ in pump.run() }, far)
    }
}

/// Bytes that repeat late, so that a hole or a swap is seen.
func pattern(_ count: Int, from start: Int = 0) -> [UInt8] {
    (start..<(start + count)).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 9) }
}

/// Two connected sockets.
func pair() throws -> (near: Descriptor, far: Far) {
    var ends: [Int32] = [-1, -1]
    guard unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0 else {
        throw SystemError("socketpair", "")
    }
    let near = Descriptor(ends[0])
    near.configure()
    return (near, Far(Descriptor(ends[1])))
}

/// The far end of a socket or terminal, with calls that never block. One thread at a time uses it.
final class Far: @unchecked Sendable {
    private(set) var descriptor: Descriptor?
    /// All that was read.
    private(set) var received: [UInt8] = []
    /// The stream came to its end.
    private(set) var isEnded = false

    init(_ descriptor: Descriptor) {
        descriptor.configure()
        self.descriptor = descriptor
    }

    /// Connects to a socket's path.
    convenience init(connectingTo path: String) throws {
        self.init(try UnixListener.connect(to: path))
    }

    /// Opens a terminal.
    convenience init(opening path: String) throws {
        let raw = unsafe open(path, O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard raw >= 0 else { throw SystemError("open", path) }
        self.init(Descriptor(raw))
    }

    /// Writes what goes at once, and returns how much that was.
    @discardableResult
    func send(_ bytes: [UInt8]) -> Int {
        Reactor.blockBrokenPipeSignal()
        var done = 0
        while let descriptor, done < bytes.count {
            guard case .moved(let count) = descriptor.write(bytes.span.extracting(done...)) else { break }
            done += count
        }
        return done
    }

    /// Reads what is there.
    @discardableResult
    func receive(upTo limit: Int = .max) -> [UInt8] {
        while let descriptor, received.count < limit {
            var transfer = Descriptor.Transfer.wait
            received.append(addingCapacity: min(65_536, limit - received.count)) {
                transfer = descriptor.read(appendingTo: &$0)
            }
            switch transfer {
            case .moved: continue
            case .end, .gone: isEnded = true
            case .wait: break
            }
            break
        }
        return received
    }

    func endWriting() {
        if let descriptor { shutdown(descriptor.raw, Int32(SHUT_WR)) }
    }

    func leave() {
        descriptor = nil
    }
}

/// A folder that goes with the test.
final class Folder {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.appending(path: "xenchan-\(UUID().uuidString.prefix(8))").path()
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }
}

/// Ends a socket's reading half.
func endReading(_ descriptor: Descriptor) {
    shutdown(descriptor.raw, Int32(SHUT_RD))
}
