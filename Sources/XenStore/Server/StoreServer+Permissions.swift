// SPDX-License-Identifier: MIT

import XenInterface

// The operation that sets a permission list, of a node or of a special name (D.3).
extension StoreServer {
    /// Sets a node's permission list (D13).
    mutating func setPermissions(
        _ path: String,
        _ list: [PermissionEntry],
        _ caller: Caller
    ) throws(StoreErrorCode) {
        let place = try node(path, [.write, .own], caller)
        let old = permissionList(place, caller)
        guard caller.isPrivileged || list[0].domain == permissions.owner(old) else { throw .notPermitted }
        let new = permissions.intern(list)
        defer { permissions.release(new) }
        let size = nodeSize(list.count, value(place, caller).count + listingSize(place, caller))
        try checkSize(size, of: place, owner: list[0].domain, caller)
        permissions.retain(old)
        defer { permissions.release(old) }
        count(-1, ownerOf: old, caller)
        count(1, ownerOf: new, caller)
        let oldStamp = stamp(place, caller)
        store(place, value: value(place, caller), permissions: new, caller)
        fire(place, path, exact: false, oldList: (old, oldStamp), caller)
    }

    /// Makes the domains of a new permission list known, and marks the entries of those that do not exist.
    mutating func admit(_ list: [PermissionEntry], _ caller: Caller) throws(StoreErrorCode) -> [PermissionEntry] {
        guard caller.isPrivileged || list.count <= quotas(of: caller.domain).permissionsPerNode else { throw .noSpace }
        var list = list
        for index in list.indices {
            let number = UInt32(bitPattern: list[index].domain)
            if exists(number) {
                makeDomain(number)
            } else if index == 0 || !rules.knowsAnyDomain || list[index].domain != StoreServer.anyDomain {
                list[index].isIgnored = true
            }
        }
        guard !list[0].isIgnored else { throw .noEntry }
        return list
    }

    /// Sets who may see a special name's events; only the two that fire have a permission list (D7).
    mutating func setSpecialPermissions(
        _ name: String,
        _ list: [PermissionEntry],
        _ caller: Caller
    ) throws(StoreErrorCode) {
        guard let old = specialPermissions[name] else { throw .invalid }
        guard rights(of: caller, list: old, stamp: .max).isSuperset(of: [.write, .own]) else { throw .accessDenied }
        specialPermissions[name] = permissions.intern(list)
        permissions.release(old)
    }
}
