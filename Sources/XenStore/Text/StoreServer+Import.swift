// SPDX-License-Identifier: MIT

import XenInterface

/// Why a text could not be loaded.
public struct StoreImportError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The line, counted from 1.
    public var line: Int
    /// What was wrong there.
    public var reason: Reason

    /// What can be wrong with a line.
    public enum Reason: String, Hashable, Sendable {
        /// It does not have the form `PATH = "VALUE"   (PERMISSIONS)`.
        case form = "is not of the form PATH = \"VALUE\"   (PERMISSIONS)"
        /// The path breaks the rules, or is too long.
        case path = "has a path that no node can have"
        /// An escape in the value is cut short or unknown.
        case value = "has an escape that xenstore-ls does not write"
        /// The permissions are not letters with domain numbers.
        case permissions = "has permissions that are not letters with domain numbers"
    }

    /// Makes an error.
    public init(line: Int, reason: Reason) {
        self.line = line
        self.reason = reason
    }

    /// The line and what is wrong with it.
    public var description: String { "line \(line) \(reason.rawValue)" }
}

extension StoreServer {
    /// Adds the nodes that a text of `xenstore-ls -fp` (or `-f`) shows, with their values and permissions.
    ///
    /// Nodes that are there already get the value and permissions of the text. Domains that the permissions
    /// speak of are taken to exist. Watches fire as for writes of dom0. Empty lines are passed over. On an error the lines
    /// before it have been loaded.
    public mutating func importListing(
        _ text: String,
        into sink: inout some StoreOutputSink & ~Copyable
    ) throws(StoreImportError) {
        do throws(StoreImportError) {
            try load(text)
        } catch {
            drain(into: &sink)
            throw error
        }
        drain(into: &sink)
    }

    /// Adds the nodes that a text shows; see `importListing(_:into:)`. For a store that nobody watches yet.
    public mutating func importListing(_ text: String) throws(StoreImportError) {
        var outputs: [StoreOutput] = []
        try importListing(text, into: &outputs)
    }

    private mutating func load(_ text: String) throws(StoreImportError) {
        for (index, line) in text.utf8.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated()
        where !line.isEmpty {
            do throws(Problem) {
                try load(line: [UInt8](line))
            } catch {
                throw StoreImportError(line: index + 1, reason: error.reason)
            }
        }
    }

    private struct Problem: Error {
        let reason: StoreImportError.Reason

        init(_ reason: StoreImportError.Reason) {
            self.reason = reason
        }
    }

    private mutating func load(line: [UInt8]) throws(Problem) {
        let mark = [UInt8](" = \"".utf8)
        guard let blank = line.firstIndex(of: 0x20), line[blank...].starts(with: mark),
            let quote = line.lastIndex(of: 0x22), quote >= blank + mark.count
        else { throw Problem(.form) }
        guard let path = StorePath(String(decoding: line[..<blank], as: UTF8.self)), path.isAbsolute,
            isShortEnough(path.text)
        else { throw Problem(.path) }
        guard let value = StoreText.unescaped(line[(blank + mark.count)..<quote]) else { throw Problem(.value) }
        let list = try permissionList(line[(quote + 1)...])
        let toolstack = Caller(slot: -1, domain: 0, target: Caller.noTarget, transaction: nil)
        do throws(StoreErrorCode) {
            try write(path.text, StoreValue(value), toolstack)
            if let list { try setPermissions(path.text, list, toolstack) }
        } catch {
            throw Problem(.path)
        }
    }

    /// The list in `   (n0,r1)`; nil if there is nothing.
    private mutating func permissionList(_ text: ArraySlice<UInt8>) throws(Problem) -> [PermissionEntry]? {
        if text.isEmpty { return nil }
        guard text.starts(with: "   (".utf8), text.last == UInt8(ascii: ")") else { throw Problem(.form) }
        var list: [PermissionEntry] = []
        for entry in text.dropFirst(4).dropLast().split(separator: 0x2C, omittingEmptySubsequences: false) {
            guard let letter = entry.first, let access = StoreAccess(rawValue: letter),
                let number = PayloadText.integer(entry.dropFirst()), let domain = Int32(exactly: number)
            else { throw Problem(.permissions) }
            list.append(PermissionEntry(domain: domain, access: access))
            if let number = UInt32(exactly: domain), number < DomainID.firstReserved.rawValue { makeDomain(number) }
        }
        return list
    }
}
