// SPDX-License-Identifier: MIT

import XenInterface
import XenStore

/// Who sends a request: one of a few sockets, or a guest through its ring.
enum Client: Hashable, CustomStringConvertible {
    case socket(Int)
    case guest(UInt16)

    var description: String {
        switch self {
        case .socket(let number): "socket \(number)"
        case .guest(let number): "guest \(number)"
        }
    }
}

/// One thing that happens to both stores.
struct Step: CustomStringConvertible {
    /// The transaction of a request, by the order of opening, so that it means the same when steps before it are left out.
    enum Transaction {
        case none
        case open(Int)
        case number(UInt32)
    }

    enum Event {
        case request(StoreOperation, Transaction, payload: [UInt8], pieces: [Int])
        case close
    }

    let client: Client
    let event: Event

    var description: String {
        switch event {
        case .close:
            return "\(client): close"
        case .request(let operation, let transaction, let payload, let pieces):
            let text = payload.map { byte in
                byte == 0 ? "|" : (0x20...0x7E).contains(byte) ? String(UnicodeScalar(byte)) : "\\\(byte)"
            }.joined()
            let shown = text.count > 120 ? text.prefix(120) + "… (\(payload.count) bytes)" : text
            return "\(client): \(operation) \(transaction) \(shown)\(pieces.isEmpty ? "" : " in pieces of \(pieces)")"
        }
    }
}

/// Makes steps that meet one another: few paths, few tokens, few domains.
struct StepMaker {
    var random: Random
    let guests: [UInt16]
    private var introduced: Set<UInt16> = []
    private var targets: Set<UInt16> = []

    init(seed: UInt64, guests: [UInt16]) {
        random = Random(seed: seed)
        self.guests = guests
    }

    mutating func steps(_ count: Int) -> [Step] {
        var steps: [Step] = []
        if let guest = guests.first {
            steps += setUp(guest)
        }
        while steps.count < count { steps.append(step()) }
        return steps
    }

    /// A guest with a directory of its own, so that it can do something.
    private mutating func setUp(_ guest: UInt16) -> [Step] {
        introduced.insert(guest)
        return [
            request(.socket(0), .introduce, "\(guest)\0" + "1\0" + "1\0"),
            request(.socket(0), .makeDirectory, "/local/domain/\(guest)/data\0"),
            request(.socket(0), .setPermissions, "/local/domain/\(guest)/data\0n\(guest)\0"),
            request(.socket(0), .setPermissions, "/local/domain/\(guest)\0n0\0r\(guest)\0"),
        ]
    }

    private func request(_ client: Client, _ operation: StoreOperation, _ text: String) -> Step {
        Step(client: client, event: .request(operation, .none, payload: Array(text.utf8), pieces: []))
    }

    private mutating func step() -> Step {
        let client = client()
        if random.once(in: 60) { return Step(client: client, event: .close) }
        var (operation, payload) = body(client)
        // Anything longer ends the connection.
        while payload.count > StoreMessage.maximumPayload { (operation, payload) = body(client) }
        let pieces = random.once(in: 12) ? (0..<3).map { _ in 1 + random.below(20) } : []
        return Step(
            client: client,
            event: .request(operation, transaction(operation), payload: payload, pieces: pieces)
        )
    }

    private mutating func client() -> Client {
        let present = guests.filter { introduced.contains($0) }
        if !present.isEmpty, random.once(in: 2) { return .guest(random.pick(present)) }
        return .socket(random.below(3))
    }

    private mutating func transaction(_ operation: StoreOperation) -> Step.Transaction {
        // A RESET_WATCHES inside a transaction ends the real daemon by an assertion.
        if operation == .resetWatches { return .none }
        if operation == .transactionEnd { return random.once(in: 10) ? .none : .open(random.below(3)) }
        if operation == .transactionStart, !random.once(in: 15) { return .none }
        if random.once(in: 40) { return .number(UInt32(random.below(5))) }
        return random.once(in: 2) ? .open(random.below(3)) : .none
    }

    private mutating func body(_ client: Client) -> (StoreOperation, [UInt8]) {
        let choice = random.below(100)
        switch choice {
        case 0..<22: return (.write, bytes(path()) + value())
        case 22..<34: return (.read, bytes(path()))
        case 34..<40: return (.directory, bytes(path()))
        case 40..<44: return (.directoryPart, bytes(path()) + bytes("\(random.below(12))"))
        case 44..<49: return (.makeDirectory, bytes(path()))
        case 49..<58: return (.remove, bytes(path()))
        case 58..<61: return (.getPermissions, bytes(path()))
        case 61..<68: return (.setPermissions, bytes(ownedPath(client)) + permissions())
        case 68..<75: return (.watch, bytes(watchPath()) + bytes(token()))
        case 75..<78: return (.unwatch, bytes(watchPath()) + bytes(token()))
        case 78..<84: return (.transactionStart, [0])
        case 84..<91: return (.transactionEnd, bytes(random.pick(["T", "T", "T", "F", "X"])))
        default: return rare(client)
        }
    }

    private mutating func rare(_ client: Client) -> (StoreOperation, [UInt8]) {
        let domain = random.pick(["0", "1", "2", "3", "7", "07", "x", "32752"])
        switch random.below(9) {
        case 0: return (.resetWatches, [0])
        case 1: return (.getDomainPath, bytes(domain))
        case 2: return (.isDomainIntroduced, bytes(domain))
        case 3: return (.resume, bytes(domain))
        case 4, 5: return introduce()
        case 6: return release()
        case 7: return (StoreOperation(UInt32(random.pick([15, 16, 20, 23, 99]))), [0])
        default: return setTarget()
        }
    }

    private mutating func introduce() -> (StoreOperation, [UInt8]) {
        guard let guest = guests.isEmpty ? nil : random.pick(guests) else {
            return (.introduce, bytes("1") + bytes("1"))
        }
        introduced.insert(guest)
        return (.introduce, bytes("\(guest)") + bytes("1") + bytes("1"))
    }

    /// The real daemon keeps a pointer to a target that is released twice; so none is.
    private mutating func release() -> (StoreOperation, [UInt8]) {
        let free = guests.filter { introduced.contains($0) && !targets.contains($0) }
        guard !free.isEmpty else { return (.release, bytes("7")) }
        return (.release, bytes("\(random.pick(free))"))
    }

    private mutating func setTarget() -> (StoreOperation, [UInt8]) {
        guard guests.count > 1, random.once(in: 3) else { return (.setTarget, bytes("1") + bytes("7")) }
        targets.insert(guests[0])
        return (.setTarget, bytes("\(guests[1])") + bytes("\(guests[0])"))
    }

    private func bytes(_ text: String) -> [UInt8] {
        Array(text.utf8) + [0]
    }

    private mutating func path() -> String {
        if random.once(in: 30) {
            let long = String(repeating: "x", count: 2040 + random.below(20))
            let number = random.pick(["1", "-1", "1-2", "99999", "123456"])
            return random.pick([
                "", "/", "/t/", "/t//a", "/t/%", "@introduceDomain", "@foo", "/tool", "/local", "/" + long,
                "/local/domain/\(number)/" + long, "/t" + String(repeating: "/d", count: 1 + random.below(1000)),
            ])
        }
        let root = random.pick(["/t", "/t", "/t", "/local/domain/1/data", "/local/domain/2", "data", "rel", "/tool"])
        let tail = random.pick(["", "", "/a", "/b", "/a/b", "/a/b/c", "/a/c", "/c/d/e", "/@x"])
        return root + tail
    }

    /// A path for SET_PERMS. Where that fails for a special name the real daemon answers with whatever error came before, and
    /// ends by an assertion if there was none; so does a READ without a NUL (R26).
    private mutating func ownedPath(_ client: Client) -> String {
        let path = path()
        // The owner of the root takes the whole tree along when it is released.
        if path == "/" { return "/t" }
        guard path.hasPrefix("@") else { return path }
        if case .guest = client { return "/t" }
        return "@introduceDomain"
    }

    private mutating func watchPath() -> String {
        random.once(in: 5)
            ? random.pick(["@introduceDomain", "@releaseDomain", "@foo", "/", "@", "data", "/t%"]) : path()
    }

    private mutating func token() -> String {
        random.once(in: 50) ? String(repeating: "k", count: 4000) : random.pick(["1", "2", "tok", ""])
    }

    private mutating func value() -> [UInt8] {
        if random.once(in: 20) { return [UInt8](repeating: 0x76, count: 1990 + random.below(40)) }
        return Array(random.pick(["", "v", "value", "a\0b", "12345"]).utf8)
    }

    private mutating func permissions() -> [UInt8] {
        if random.once(in: 15) {
            return Array(random.pick(["x0\0", "n\0", "", "n0", "n 1\0", "n0x\0", "r0x1\0", "n-1\0"]).utf8)
        }
        let count = random.once(in: 15) ? 6 : 1 + random.below(3)
        return (0..<count).flatMap { index -> [UInt8] in
            let domain = index > 0 && random.once(in: 10) ? "7" : random.pick(["0", "1", "2", "3"])
            return bytes(random.pick(["n", "r", "w", "b"]) + domain)
        }
    }
}
