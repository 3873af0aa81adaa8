// SPDX-License-Identifier: MIT

/// The name of a xenstore node: absolute (`/local/domain/1`), relative to the caller's `/local/domain/$DOMID`, or one of
/// the special names that can only be watched (`@introduceDomain`).
///
/// A value of this type always follows the rules of D7: `A`-`Z`, `a`-`z`, `0`-`9` and `-/_@`, not empty, no empty component, no slash
/// at the end save in `/` itself. Lengths are the store's business (D8).
@frozen
public struct StorePath: Hashable, Sendable {
    /// The path as it goes over the wire.
    public let text: String

    /// Whether both name the same node in the same way. Most that differ are not of the same length, which is seen at once.
    @inlinable
    public static func == (left: StorePath, right: StorePath) -> Bool {
        left.text.utf8.count == right.text.utf8.count && left.text == right.text
    }

    /// Takes a path that follows the rules; nil for any other text.
    public init?(_ text: String) {
        guard text.withBytes(StorePath.isValid) else { return nil }
        self.text = text
    }

    /// Takes a path that follows the rules; nil for any other text.
    public init?(_ text: some StringProtocol) {
        self.init(String(text))
    }

    /// Takes text that is known to follow the rules.
    package init(unchecked text: String) {
        self.text = text
    }

    /// The root, `/`.
    public static var root: StorePath { StorePath(unchecked: "/") }

    /// Fires when a domain is introduced to the store.
    public static var introduceDomain: StorePath { StorePath(unchecked: "@introduceDomain") }

    /// Fires when a domain is released from the store.
    public static var releaseDomain: StorePath { StorePath(unchecked: "@releaseDomain") }

    /// `/local/domain/$DOMID`: where a domain's relative paths begin (D9).
    public static func domain(_ domain: DomainID) -> StorePath {
        StorePath(unchecked: "/local/domain/" + domain.description)
    }

    /// Whether the bytes are a path by the rules of D7.
    public static func isValid(_ bytes: Span<UInt8>) -> Bool {
        var previous: UInt8 = 0
        for index in bytes.indices {
            let byte = bytes[index]
            guard isAllowed(byte), byte != slash || previous != slash else { return false }
            previous = byte
        }
        return previous == slash ? bytes.count == 1 : !bytes.isEmpty
    }

    /// Whether the path begins at the root.
    @inlinable
    public var isAbsolute: Bool { text.withBytes { $0[0] } == 0x2F }

    /// Whether this is a name that can be watched only.
    @inlinable
    public var isSpecial: Bool { text.withBytes { $0[0] } == 0x40 }

    /// The node `component` below this one.
    ///
    /// Traps if `component` is not itself a relative path: use it with names that are known, not with what a peer wrote.
    public func appending(_ component: String) -> StorePath {
        joining(component, behind: self == .root ? 0 : text.utf8.count)
    }

    /// The node `component` beside this one, in the same directory.
    ///
    /// Traps as `appending(_:)` does, and for a path of one component.
    public func sibling(_ component: String) -> StorePath {
        joining(component, behind: lengthOfParent)
    }

    /// The length of what goes before the last slash.
    private var lengthOfParent: Int {
        text.withBytes { bytes in
            var length = bytes.count - 1
            while bytes[length] != StorePath.slash { length -= 1 }
            return length
        }
    }

    private func joining(_ component: String, behind length: Int) -> StorePath {
        precondition(
            component.withBytes { StorePath.isValid($0) && $0[0] != StorePath.slash },
            "not a relative path"
        )
        let count = length + 1 + component.utf8.count
        let joined = unsafe String(unsafeUninitializedCapacity: count) { buffer in
            let joined = UnsafeMutableRawBufferPointer(buffer)
            text.withBytes { own in
                unsafe own.extracting(first: length).withUnsafeBytes { unsafe joined.copyMemory(from: $0) }
            }
            unsafe buffer[length] = StorePath.slash
            component.withBytes { added in
                unsafe added.withUnsafeBytes {
                    unsafe UnsafeMutableRawBufferPointer(rebasing: joined[(length + 1)...]).copyMemory(from: $0)
                }
            }
            return count
        }
        return StorePath(unchecked: joined)
    }

    /// The node of `device` below this one.
    public func appending(_ device: DeviceID) -> StorePath {
        appending(device.description)
    }

    /// The components, first to last; none for the root.
    public var components: [Substring] { text.utf8.split(separator: StorePath.slash).map { Substring($0) } }

    /// The last component; empty for the root.
    public var lastComponent: Substring {
        guard let slash = text.utf8.lastIndex(of: StorePath.slash) else { return text[...] }
        return text[text.utf8.index(after: slash)...]
    }

    /// The node above; nil for the root and for a relative path of one component.
    public var parent: StorePath? {
        guard let last = text.utf8.lastIndex(of: StorePath.slash) else { return nil }
        if last == text.utf8.startIndex {
            return text.utf8.count == 1 ? nil : .root
        }
        return StorePath(unchecked: String(text[..<last]))
    }

    /// Whether this node lies below `ancestor`.
    public func isBelow(_ ancestor: StorePath) -> Bool {
        let length = ancestor.text.utf8.count
        return isBelow(ancestor, length == 1 && ancestor.isAbsolute ? 0 : length)
    }

    /// Whether this node lies below the directory that holds `node`. Traps for a node of one component.
    public func isBelow(directoryOf node: StorePath) -> Bool {
        isBelow(node, node.lengthOfParent)
    }

    /// Whether this path begins with the first `length` bytes of another, and then a slash and more.
    private func isBelow(_ other: StorePath, _ length: Int) -> Bool {
        text.withBytes { own in
            guard own.count > length + 1, own[length] == StorePath.slash else { return false }
            return other.text.withBytes { own.isEqual(to: $0, count: length) }
        }
    }

    /// The part below `ancestor`, relative to it; nil if this node does not lie below it.
    public func relative(to ancestor: StorePath) -> StorePath? {
        guard isBelow(ancestor) else { return nil }
        let length = ancestor == .root ? 0 : ancestor.text.utf8.count
        return StorePath(unchecked: String(text[text.utf8.index(text.startIndex, offsetBy: length + 1)...]))
    }

    static var slash: UInt8 { 0x2F }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x61...0x7A, 0x41...0x5A, 0x30...0x39: true
        case 0x2D, 0x2F, 0x5F, 0x40: true
        default: false
        }
    }
}

extension String {
    /// Shows the text's bytes where they lie.
    ///
    /// Much cheaper than `utf8.span`, which has to allow for more kinds of text than there are here.
    @inlinable
    @inline(__always)
    package func withBytes<Result>(_ body: (Span<UInt8>) -> Result) -> Result {
        unsafe utf8.withContiguousStorageIfAvailable { unsafe body($0.span) } ?? body([UInt8](utf8).span)
    }
}

extension Span<UInt8> {
    /// Whether the first `count` bytes are the same in both.
    @inlinable
    @inline(__always)
    package func isEqual(to other: Span<UInt8>, count: Int) -> Bool {
        precondition(count >= 0 && count <= self.count && count <= other.count, "the bytes are there")
        let (left, right) = unsafe (bytes, other.bytes)
        var index = 0
        // Eight at a time: in range, since at least eight are left of `count`.
        while index &+ 8 <= count {
            guard
                unsafe left.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self)
                    == right.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self)
            else { return false }
            index &+= 8
        }
        if index < count, count >= 8 {
            // The last eight, some of them for the second time.
            return unsafe left.unsafeLoadUnaligned(fromUncheckedByteOffset: count &- 8, as: UInt64.self)
                == right.unsafeLoadUnaligned(fromUncheckedByteOffset: count &- 8, as: UInt64.self)
        }
        while index < count {
            guard unsafe self[unchecked: index] == other[unchecked: index] else { return false }
            index &+= 1
        }
        return true
    }
}

extension StorePath: CustomStringConvertible {
    /// The path.
    public var description: String { text }
}
