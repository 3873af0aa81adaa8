// SPDX-License-Identifier: MIT

// What libFuzzer calls: each input is a program of ring operations and of a hostile peer's writes on one real page.
// Compiled together with the ring's sources by the command in `run.sh`, not by the package.

/// One page at a time, in a place of its own so that the address sanitizer sees every byte beside it.
@c(LLVMFuzzerTestOneInput)
public func fuzzRing(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: SharedPage.size, alignment: 4096)
    defer { unsafe memory.deallocate() }
    unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: SharedPage.size)
    var program = unsafe Program(UnsafeBufferPointer(start: data, count: size))
    unsafe run(&program, memory)
    // Nobody writes behind the connection byte but the peer of this program, who leaves it alone.
    for offset in 3089..<SharedPage.size {
        precondition(unsafe memory.load(fromByteOffset: offset, as: UInt8.self) == 0, "touched what is not used")
    }
    return 0
}

/// The input, read from its front; zeros behind its end.
@safe
private struct Program {
    private let bytes: UnsafeBufferPointer<UInt8>
    private var position = 0

    @unsafe
    init(_ bytes: UnsafeBufferPointer<UInt8>) { unsafe self.bytes = bytes }

    var isAtEnd: Bool { unsafe position >= bytes.count }

    mutating func byte() -> UInt8 {
        guard !isAtEnd else { return 0 }
        defer { position += 1 }
        return unsafe bytes[position]
    }

    mutating func word() -> UInt32 {
        (0..<4).reduce(0) { value, _ in value << 8 | UInt32(byte()) }
    }
}

@unsafe
private func run(_ program: inout Program, _ memory: UnsafeMutableRawPointer) {
    let page = unsafe SharedPage(base: memory)
    let role: ConsoleRole = program.byte() & 1 == 0 ? .frontend : .backend
    if program.byte() & 1 == 1 {
        for word in [3072, 3076, 3080, 3084] { page.storeRelease(program.word(), at: word) }
    }
    guard var ring = try? ConsoleRing(attaching: page, as: role) else { return }
    var promised = 0
    while !program.isAtEnd {
        switch program.byte() % 18 {
        case 0, 1, 2: write(&ring, Int(program.byte()) * 10, all: false)
        case 3: write(&ring, Int(program.byte()), all: true)
        case 4, 5, 6: promised = read(&ring, Int(program.byte()) * 10, promised)
        case 7: promised = max(promised, peek(&ring, Int(program.byte()) * 10))
        case 8: promised = max(promised, (try? ring.input.count()) ?? 0)
        case 9:
            let count = min(promised, Int(program.byte()))
            ring.input.advance(by: count)
            promised -= count
        case 10:
            _ = try? ring.output.freeCapacity()
            _ = ring.output.needsNotification()
            _ = ring.output.mayHaveFallenAsleep(since: RingIndex(program.word()))
            _ = try? ring.input.maySleep()
        case 11: _ = ring.connection
        case 12, 13: page.storeRelease(program.word(), at: [3072, 3076, 3080, 3084][Int(program.byte() & 3)])
        case 16, 17: promised = echo(&ring, promised)
        case 14: page.storeReleaseByte(program.byte(), at: 3088)
        default:
            // The peer's indices are made sane again, and the ends must go on.
            page.storeRelease(ring.input.index.rawValue &+ UInt32(program.byte()), at: role.input.producerIndex)
            page.storeRelease(ring.output.index.rawValue, at: role.output.consumerIndex)
        }
    }
}

private func write(_ ring: inout ConsoleRing<SharedPage>, _ count: Int, all: Bool) {
    let bytes = Array(repeating: UInt8(1), count: all ? min(count, ring.output.capacity) : count)
    let before = ring.output.index
    var written = 0
    if all {
        if let done = try? ring.output.writeAll(bytes.span), done { written = bytes.count }
    } else {
        written = (try? ring.output.write(bytes.span)) ?? 0
    }
    precondition(written <= bytes.count && written <= ring.output.capacity, "wrote too much")
    precondition(ring.output.index - before == UInt32(written), "the index moved by something else")
}

private func read(_ ring: inout ConsoleRing<SharedPage>, _ count: Int, _ promised: Int) -> Int {
    var bytes = Array(repeating: UInt8(0), count: count)
    var span = bytes.mutableSpan
    let before = ring.input.index
    let read = (try? ring.input.read(into: &span)) ?? 0
    precondition(read <= count && read <= ring.input.capacity, "read too much")
    precondition(ring.input.index - before == UInt32(read), "the index moved by something else")
    return max(0, promised - read)
}

private func peek(_ ring: inout ConsoleRing<SharedPage>, _ count: Int) -> Int {
    var bytes = Array(repeating: UInt8(0), count: count)
    var span = bytes.mutableSpan
    let seen = (try? ring.input.peek(into: &span)) ?? 0
    precondition(seen <= count && seen <= ring.input.capacity, "saw too much")
    return seen
}

private func echo(_ ring: inout ConsoleRing<SharedPage>, _ promised: Int) -> Int {
    let before = (ring.input.index, ring.output.index)
    let count = (try? ring.echo()) ?? 0
    precondition(count <= ring.input.capacity && count <= ring.output.capacity, "gave back too much")
    let moved = (ring.input.index - before.0, ring.output.index - before.1)
    precondition(moved == (UInt32(count), UInt32(count)), "an index moved by something else")
    return max(0, promised - count)
}
