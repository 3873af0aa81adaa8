// SPDX-License-Identifier: MIT

import Glibc

/// The descriptors of a loop, and who is told when one of them is ready.
final class PolledDescriptors {
    /// What a descriptor is waited for: bits of `poll`.
    struct Readiness: OptionSet {
        let rawValue: Int16

        static let readable = Readiness(rawValue: Int16(POLLIN))
        static let writable = Readiness(rawValue: Int16(POLLOUT))
        /// Reported whether asked for or not.
        static let hungUp = Readiness(rawValue: Int16(POLLHUP))
        /// Reported whether asked for or not.
        static let failed = Readiness(rawValue: Int16(POLLERR | POLLNVAL))
    }

    /// A descriptor in the loop.
    final class Source {
        let descriptor: Descriptor
        fileprivate let handler: (Readiness) -> Void
        fileprivate var index: Int
        fileprivate unowned let polled: PolledDescriptors
        fileprivate var isOpen = true

        fileprivate init(
            _ descriptor: Descriptor,
            _ index: Int,
            _ polled: PolledDescriptors,
            _ handler: @escaping (Readiness) -> Void
        ) {
            self.descriptor = descriptor
            self.index = index
            self.polled = polled
            self.handler = handler
        }

        /// What to wait for; nil: not even for a hang-up.
        var interest: Readiness? {
            didSet {
                guard isOpen, interest != oldValue else { return }
                unsafe polled.entries[index].fd = interest == nil ? -1 : descriptor.raw
                unsafe polled.entries[index].events = interest?.rawValue ?? 0
            }
        }

        /// Takes the descriptor out of the loop.
        func cancel() {
            guard isOpen else { return }
            isOpen = false
            polled.remove(self)
        }
    }

    /// What `poll` is shown; the first is the loop's waker. Looked at and changed by single steps, none of which comes back here.
    @exclusivity(unchecked) private var entries: ContiguousArray<pollfd>
    private var sources: ContiguousArray<Source?> = [nil]
    private var hasHoles = false
    private let waker: Waker

    /// Waits for wake-ups only.
    init(waking waker: Waker) {
        self.waker = waker
        unsafe entries = [pollfd(fd: waker.readEnd, events: Int16(POLLIN), revents: 0)]
    }

    deinit {
        // Whoever still holds a source may cancel it later.
        for source in sources { source?.isOpen = false }
    }

    /// Adds a descriptor; `handler` is called with what it is ready for.
    func add(_ descriptor: Descriptor, for interest: Readiness?, handler: @escaping (Readiness) -> Void) -> Source {
        let source = unsafe Source(descriptor, entries.count, self, handler)
        unsafe entries.append(pollfd(fd: -1, events: 0, revents: 0))
        sources.append(source)
        source.interest = interest
        return source
    }

    /// Sleeps until a descriptor is ready, somebody wakes the loop, or so many milliseconds have passed; without end if they are negative.
    func wait(_ milliseconds: Int32) {
        unsafe entries.withUnsafeMutableBufferPointer { buffer in
            _ = unsafe poll(buffer.baseAddress, nfds_t(buffer.count), milliseconds)
        }
        guard unsafe entries[0].revents != 0 else { return }
        unsafe entries[0].revents = 0
        waker.drain()
    }

    /// Tells of each descriptor that was ready, and calls `body` after each.
    func dispatch(afterEach body: () -> Void) {
        for index in unsafe 1..<max(1, entries.count) {
            let events = unsafe entries[index].revents
            guard events != 0, let source = sources[index] else { continue }
            unsafe entries[index].revents = 0
            source.handler(Readiness(rawValue: events))
            body()
        }
        if hasHoles { compact() }
    }

    private func remove(_ source: Source) {
        sources[source.index] = nil
        unsafe entries[source.index].fd = -1
        hasHoles = true
    }

    /// Closes the holes that cancelled sources left, outside of any walk over them.
    private func compact() {
        hasHoles = false
        var free = 1
        for index in 1..<sources.count {
            guard let source = sources[index] else { continue }
            sources[free] = source
            unsafe entries[free] = entries[index]
            source.index = free
            free += 1
        }
        sources.removeSubrange(free...)
        unsafe entries.removeSubrange(free...)
    }
}
