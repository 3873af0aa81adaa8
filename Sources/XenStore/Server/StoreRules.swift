// SPDX-License-Identifier: MIT

/// What an unprivileged domain may use up; sockets and dom0 are exempt (D41). The defaults are those of 4.17.
public struct StoreQuotas: Hashable, Sendable {
    /// Nodes a domain owns: at this many no more are made.
    public var nodes = 1000
    /// Watches of a domain: one more than this is granted.
    public var watches = 128
    /// Open transactions of a connection: one more than this is granted (D40).
    public var transactions = 10
    /// Nodes touched in one transaction.
    public var nodesPerTransaction = 1024
    /// Entries of a permission list.
    public var permissionsPerNode = 5
    /// Bytes of a node: 24, 8 for each permission, the value, and the children's names with a NUL each. A node is
    /// smaller than this.
    public var nodeSize = 2048
    /// Bytes of a path, without a leading `/local/domain/$DOMID/` (D8). Holds for every client.
    public var pathLength = 2048
    /// Requests whose replies the guest has not taken: at this many its ring is read no further.
    public var outstandingRequests = 20
    /// Bytes of the store's memory: nodes with their paths, copies of nodes in transactions, watches. Nothing is added that
    /// would reach this; no limit if 0.
    public var memory = 2_621_440
    /// Bytes of the store's memory at which xenstored logs a warning; no client sees anything of that, and this store neither.
    public var softMemory = 2_097_152

    /// The quotas of 4.17.
    public init() {}
}

/// Where stores differ in what a client can see. The default is the C xenstored 4.17 that was recorded.
public struct StoreRules: Hashable, Sendable {
    /// The quotas.
    public var quotas = StoreQuotas()
    /// HEAD: WATCH takes a depth as a third string; 4.17 answers `EINVAL` (D33, G5).
    public var allowsWatchDepth = false
    /// HEAD: too many watches are answered with `ENOSPC`; 4.17 says `E2BIG` (D41, G5).
    public var watchQuotaIsNoSpace = false
    /// HEAD: a domain's last transaction under the quota is refused; 4.17 grants one more than the quota (D40).
    public var transactionQuotaIsExact = false
    /// HEAD: GET_FEATURE and SET_FEATURE; 4.17 answers `ENOSYS` (D2, G5).
    public var hasFeatureOperations = false
    /// HEAD: GET_QUOTA and SET_QUOTA; 4.17 answers `ENOSYS` (D2, G5).
    public var hasQuotaOperations = false
    /// HEAD: an entry for `DOMID_ANY` in a permission list is for every domain, and the two special names have one, so that
    /// guests see them; 4.17 knows no such domain (D26, D35, G5).
    public var knowsAnyDomain = false
    /// HEAD: what the word `server_features` of a guest's page says, and GET_FEATURE; in 4.17 it is 0 (D46).
    public var features: UInt32 = 0
    /// oxenstored: the reply to a request goes out before the events that the request fires (R21).
    public var repliesPrecedeEvents = false
    /// oxenstored and QEMU: listings are sorted; the C daemon keeps the order of making (D20, R21).
    public var sortsListings = false

    /// oxenstored: a commit does not fail because a directory that it changed got or lost other children meanwhile, or
    /// because a node was written with what it held already; the C daemon answers `EAGAIN` (D38, D43).
    public var mergesCommits = false

    /// The rules of the C xenstored 4.17.
    public init() {}

    /// The current C xenstored, where a client can see that it is another than 4.17 (G5).
    public static var currentVersion: StoreRules {
        var rules = StoreRules()
        rules.allowsWatchDepth = true
        rules.watchQuotaIsNoSpace = true
        rules.transactionQuotaIsExact = true
        rules.hasFeatureOperations = true
        rules.hasQuotaOperations = true
        rules.knowsAnyDomain = true
        // The word `error`, depths of watches, and `DOMID_ANY`.
        rules.features = 2 | 4 | 8
        return rules
    }
}

/// Which domains the store takes to exist on the host: xenstored asks the hypervisor.
public enum StoreDomainExistence: Hashable, Sendable {
    /// Every number that can be a domain's.
    case every
    /// Those that the world has announced with `domainCreated(_:)`, and dom0.
    case announced
}
