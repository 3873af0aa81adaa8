// SPDX-License-Identifier: MIT

import Foundation
import Glibc
import XenChannelIO

/// Where a running world publishes its store, so that `xenchan list` finds it without being told.
enum DefaultStore {
    /// `$XDG_RUNTIME_DIR/xenchan-store`, or a folder of this user's own below the one for temporary files.
    static var path: String {
        let environment = ProcessInfo.processInfo.environment
        if let folder = environment["XDG_RUNTIME_DIR"], !folder.isEmpty {
            return folder + "/xenchan-store"
        }
        return folder + "/store"
    }

    private static var folder: String {
        "/tmp/xenchan-\(getuid())"
    }

    /// Makes the folder if need be, for this user alone; what else is in the way is refused.
    static func prepare() throws(SystemError) {
        guard path.hasPrefix(folder) else { return }
        _ = unsafe mkdir(folder, 0o700)
        var status = stat()
        guard unsafe lstat(folder, &status) == 0 else { throw SystemError("mkdir", folder) }
        guard status.st_mode & S_IFMT == S_IFDIR, status.st_uid == getuid(), status.st_mode & 0o077 == 0 else {
            throw SystemError("mkdir", folder, detail: "exists and is no folder that is open to this user alone")
        }
    }
}
