// SPDX-License-Identifier: MIT

public import XenInterface

// What later stores let a toolstack ask and set: features offered to a domain, and quotas (D2, G5). 4.17 has neither.
extension StoreServer {
    /// The features offered to a domain: what goes into the word `server_features` of its page (D46).
    public func features(of domain: DomainID) -> UInt32 {
        domains[UInt32(domain.rawValue)]?.features ?? rules.features
    }

    /// The quotas of a domain.
    func quotas(of domain: Int32) -> StoreQuotas {
        ownQuotas.isEmpty ? quotas : ownQuotas[domain] ?? quotas
    }

    // MARK: Features

    /// GET_FEATURE `[domid|]`: what the caller is offered, or for dom0 what another domain is.
    mutating func getFeature(_ payload: [UInt8], _ caller: Caller) throws(StoreErrorCode) -> UInt32 {
        let strings = PayloadText.strings(in: payload)
        guard let first = strings.first else {
            return features(of: DomainID(UInt16(truncatingIfNeeded: caller.domain)))
        }
        guard caller.isPrivileged else { throw .accessDenied }
        guard strings.count == 1 else { throw .invalid }
        let number = PayloadText.decimalPrefix(payload[first])
        try know(number)
        return domains[number]?.features ?? rules.features
    }

    /// SET_FEATURE `domid|features|`: only before the domain is introduced, and only what the store has.
    mutating func setFeature(_ payload: [UInt8]) throws(StoreErrorCode) {
        let strings = PayloadText.strings(in: payload)
        guard strings.count == 2 else { throw .invalid }
        let number = PayloadText.decimalPrefix(payload[strings[0]])
        let features = PayloadText.decimalPrefix(payload[strings[1]])
        try know(number)
        guard domains[number]?.isIntroduced == false else { throw .busy }
        guard features & ~rules.features == 0 else { throw .invalid }
        domains[number]?.features = features
    }

    /// Notes a domain that the host has.
    private mutating func know(_ number: UInt32) throws(StoreErrorCode) {
        guard domains[number] != nil || exists(number) else { throw .noEntry }
        makeDomain(number)
    }

    // MARK: Quotas

    /// GET_QUOTA `[[domid|]quota|]`: the names of all, a quota of all domains, or a domain's.
    mutating func getQuota(_ payload: [UInt8]) throws(StoreErrorCode) -> String {
        let strings = PayloadText.strings(in: payload)
        guard strings.count <= 2 else { throw .invalid }
        guard let name = strings.last else { return StoreServer.quotaNames.map(\.name).joined(separator: " ") }
        var quotas = quotas
        if strings.count == 2 {
            let number = PayloadText.decimalPrefix(payload[strings[0]])
            try know(number)
            quotas = self.quotas(of: Int32(bitPattern: number))
        }
        return String(quotas[keyPath: try StoreServer.quota(named: payload[name])])
    }

    /// SET_QUOTA `[domid|]quota|value|`: for a domain, or for those that are not known yet.
    mutating func setQuota(_ payload: [UInt8]) throws(StoreErrorCode) {
        let strings = PayloadText.strings(in: payload)
        guard strings.count == 2 || strings.count == 3 else { throw .invalid }
        let value = PayloadText.decimalPrefix(payload[strings[strings.count - 1]])
        if strings.count == 3 {
            let number = PayloadText.decimalPrefix(payload[strings[0]])
            try know(number)
            try set(StoreServer.quota(named: payload[strings[1]]), to: value, of: Int32(bitPattern: number))
        } else {
            let quota = try StoreServer.quota(named: payload[strings[0]])
            guard value != .max else { throw .invalid }
            // A domain has its quotas from when the store first hears of it.
            for number in domains.keys where ownQuotas[Int32(bitPattern: number)] == nil {
                ownQuotas[Int32(bitPattern: number)] = quotas
            }
            quotas[keyPath: quota] = Int(value)
        }
    }

    private mutating func set(
        _ quota: WritableKeyPath<StoreQuotas, Int>,
        to value: UInt32,
        of domain: Int32
    ) throws(StoreErrorCode) {
        guard value != .max else { throw .invalid }
        ownQuotas[domain, default: quotas][keyPath: quota] = Int(value)
    }

    private static func quota(
        named name: ArraySlice<UInt8>
    ) throws(StoreErrorCode) -> WritableKeyPath<StoreQuotas, Int> {
        guard let quota = quotaNames.first(where: { name.elementsEqual($0.name.utf8) }) else { throw .invalid }
        return quota.quota
    }

    /// The quotas by their names, in the order in which they are listed. Computed, since key paths are not `Sendable`.
    private static var quotaNames: [(name: String, quota: WritableKeyPath<StoreQuotas, Int>)] {
        [
            ("nodes", \.nodes), ("watches", \.watches), ("outstanding", \.outstandingRequests), ("memory", \.memory),
            ("soft-memory", \.softMemory), ("transactions", \.transactions),
            ("transaction-nodes", \.nodesPerTransaction), ("node-permissions", \.permissionsPerNode),
            ("path-max", \.pathLength), ("node-size", \.nodeSize),
        ]
    }
}
