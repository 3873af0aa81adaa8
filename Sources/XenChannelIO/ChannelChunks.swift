// SPDX-License-Identifier: MIT

extension ChannelStream {
    /// The bytes as they come, for `for await`; one task at a time.
    public var chunks: ChannelChunks { ChannelChunks(stream: self) }
}

/// What comes over a channel, in pieces of what there was.
///
/// The memory of a piece is used again for the next one, unless it was kept.
public struct ChannelChunks: AsyncSequence {
    /// At least one byte.
    public typealias Element = [UInt8]
    /// Nothing is thrown: the sequence ends when the stream has ended or the task is cancelled.
    public typealias Failure = Never

    fileprivate let stream: ChannelStream

    /// Begins to read.
    public func makeAsyncIterator() -> Iterator {
        Iterator(stream: stream)
    }

    /// Reads.
    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let stream: ChannelStream
        private var chunk: [UInt8] = []

        fileprivate init(stream: ChannelStream) {
            self.stream = stream
        }

        /// The next bytes.
        public mutating func next(isolation actor: isolated (any Actor)?) async -> [UInt8]? {
            let stream = stream
            chunk.removeAll(keepingCapacity: true)
            // What there was may not be there any more: the other side can spoil its index.
            while chunk.isEmpty {
                guard await stream.becomesReadable() else { return nil }
                chunk.append(addingCapacity: Iterator.capacity) { output in
                    unsafe output.withUnsafeMutableBufferPointer { buffer, count in
                        var span = unsafe MutableSpan(_unsafeElements: buffer)
                        count = stream.read(into: &span)
                    }
                }
            }
            return chunk
        }

        /// The next bytes.
        public mutating func next() async -> [UInt8]? {
            await next(isolation: nil)
        }

        /// What the ring of either direction holds at most.
        private static let capacity = 2048
    }
}
