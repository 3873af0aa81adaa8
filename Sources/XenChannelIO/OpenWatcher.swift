// SPDX-License-Identifier: MIT

import Glibc

/// Says when somebody opens a file: so that a terminal without a reader costs nothing until one comes.
final class OpenWatcher {
    private let descriptor: Descriptor
    private var handlers: [Int32: () -> Void] = [:]
    private var source: Reactor.Source?

    /// Begins, with no file to watch.
    init(on reactor: Reactor) throws(SystemError) {
        let raw = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        guard raw >= 0 else { throw SystemError("inotify_init1", "") }
        descriptor = Descriptor(raw)
        source = reactor.add(descriptor, for: .readable) { [unowned self] _ in read() }
    }

    deinit {
        source?.cancel()
    }

    /// Calls `handler` each time after `path` was opened; one call may stand for several.
    func watch(_ path: String, handler: @escaping () -> Void) throws(SystemError) -> Int32 {
        let watch = unsafe inotify_add_watch(descriptor.raw, path, UInt32(IN_OPEN))
        guard watch >= 0 else { throw SystemError("inotify_add_watch", path) }
        handlers[watch] = handler
        return watch
    }

    /// No longer watches a file.
    func unwatch(_ watch: Int32) {
        handlers[watch] = nil
        inotify_rm_watch(descriptor.raw, watch)
    }

    private func read() {
        let header = MemoryLayout<inotify_event>.size
        var buffer = [UInt8](repeating: 0, count: 64 * header)
        let count = unsafe Glibc.read(descriptor.raw, &buffer, buffer.count)
        var offset = 0
        var opened: [Int32] = []
        while offset + header <= count {
            let (watch, length) = unsafe buffer.withUnsafeBytes { bytes in
                (
                    unsafe bytes.loadUnaligned(fromByteOffset: offset, as: Int32.self),
                    unsafe bytes.loadUnaligned(fromByteOffset: offset + 12, as: UInt32.self)
                )
            }
            if !opened.contains(watch) { opened.append(watch) }
            offset += header + Int(length)
        }
        // -1 says that events were dropped: then anything may have been opened.
        if opened.contains(-1) { opened = handlers.keys.sorted() }
        for watch in opened { handlers[watch]?() }
    }
}
