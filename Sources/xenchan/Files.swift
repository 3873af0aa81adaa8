// SPDX-License-Identifier: MIT

import Glibc
import XenChannelIO

/// The files that a command line names.
enum Files {
    private static let pieceSize = 65_536

    /// The first bytes of a file, or of standard input for `-`, at most so many.
    static func read(_ path: String, upTo limit: Int = .max) throws(SystemError) -> [UInt8] {
        let name = path == "-" ? "standard input" : path
        let descriptor = path == "-" ? STDIN_FILENO : unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemError("open", name) }
        defer { if descriptor != STDIN_FILENO { close(descriptor) } }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: pieceSize)
        while bytes.count < limit {
            let count = unsafe Glibc.read(descriptor, &piece, min(piece.count, limit - bytes.count))
            if count == 0 { break }
            guard count > 0 else {
                if errno == EINTR { continue }
                throw SystemError("read", name)
            }
            bytes += piece[..<count]
        }
        return bytes
    }

    /// Writes a text into a file.
    ///
    /// A regular file is replaced when all of the text is there, so that it is never half a text. What is not regular (a pipe, a device)
    /// or is a symbolic link is somebody's arrangement: it stays, and is written into.
    static func write(_ text: String, to path: String) throws(SystemError) {
        var status = stat()
        let exists = unsafe lstat(path, &status) == 0
        guard exists || errno == ENOENT else { throw SystemError("open", path) }
        guard !exists || status.st_mode & S_IFMT == S_IFREG else {
            return try write(text, into: path, named: path, O_TRUNC)
        }
        // Who may not write into the file may not replace it, though the folder would allow that.
        guard unsafe !exists || access(path, W_OK) == 0 else { throw SystemError("open", path) }
        let draft = "\(path).\(getpid())"
        do throws(SystemError) {
            try write(text, into: draft, named: path, O_EXCL, mode: exists ? status.st_mode & 0o7777 : nil)
            guard unsafe rename(draft, path) == 0 else { throw SystemError("rename", path) }
        } catch {
            // One that was there before is another's.
            if error.code != EEXIST { unsafe unlink(draft) }
            throw error
        }
    }

    private static func write(
        _ text: String,
        into path: String,
        named name: String,
        _ flags: Int32,
        mode: mode_t? = nil
    ) throws(SystemError) {
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0o666)
        guard descriptor >= 0 else { throw SystemError("open", name) }
        defer { close(descriptor) }
        if let mode { fchmod(descriptor, mode) }
        let bytes = [UInt8](text.utf8)
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeBufferPointer { buffer in
                unsafe Glibc.write(descriptor, buffer.baseAddress.map { unsafe $0 + done }, bytes.count - done)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw SystemError("write", name) }
            done += count
        }
    }
}
