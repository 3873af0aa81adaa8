// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenExploration
import XenSimulator

struct MutantTests {
    /// Everything that can happen to one channel and its neighbour, in few steps. One has bytes in one direction alone: where they flow in
    /// both, a notification that is left out is made up for by the next one of the other direction.
    static let life = Scenario("life", "channels come, exchange, close and go") { simulation in
        let guest = simulation.addGuest([
            ChannelPlan("org.example.a", agent: .send(3000), client: .listen),
            ChannelPlan("org.example.b", agent: .echo, client: .send(1500)),
        ])
        simulation.settle()
        simulation.close(number: 2, from: guest)
        simulation.settle()
        simulation.detach(number: 1, from: guest)
        simulation.settle()
    }

    /// Within how many seeds each bug is found, at most ten, and a word of the rule that finds it.
    static let findings: [Finding] = [
        Finding(.noNotificationAfterWriting, 1, "sleeps"),
        Finding(.noNotificationAfterReading, 10, "sleeps"),
        Finding(.shortWriteIgnored, 1, "have arrived"),
        Finding(.readsWithoutLookingAtTheIndex, 1, "of its ring, not at"),
        Finding(.givesBackMoreThanItRead, 1, "past what was written"),
        Finding(.writesThePeersIndex, 1, "which is not its index"),
        Finding(.publishesMoreThanItWrote, 1, "with no bytes for it"),
        Finding(.wakeupLostBeforeSleeping, 10, "sleeps"),
        Finding(.eventIgnoredWhileBusy, 10, "sleeps"),
        Finding(.grantFreedWhileMapped, 10, "after it was freed"),
        Finding(.pageNotReleased, 1, "left over"),
        Finding(.ringNotUnmapped, 1, "has given up"),
        Finding(.watchNotDropped, 1, "watches are left"),
        Finding(.watchNotReadAgain, 1, "is not connected"),
        Finding(.frontendIgnoresTheEnd, 1, "left over"),
        Finding(.backendIgnoresRemoval, 1, "watches are left"),
        Finding(.scannerListsOnce, 1, "watches are left"),
        Finding(.conflictTakenForSuccess, 10, "is not connected"),
        Finding(.connectsBeforeTheFrontendIsReady, 10, "cannot map"),
        Finding(.ringJoinedTwice, 1, "cannot bind"),
        Finding(.closingTakenForConnected, 1, "has given up"),
        Finding(.backendSkipsAState, 1, "goes from"),
        Finding(.bytesInDisorder, 1, "arrives as"),
        Finding(.readsOutsideTheRing, 1, "outside its ring"),
        Finding(.movesItsIndexBack, 1, "past what was written"),
        Finding(.holdsMoreThanItMay, 1, "and may hold"),
        Finding(.usesThePageAfterUnmapping, 1, "after it was unmapped"),
        Finding(.portLeftOpen, 1, "left over"),
        Finding(.transactionLeftOpen, 1, "transaction is left open"),
        Finding(.frontendWritesTheBackendsState, 1, "not its own"),
        Finding(.backendWritesTheFrontendsState, 1, "not its own"),
        Finding(.frontendClosesInDisorder, 1, "goes from"),
        Finding(.lastBytesThrownAway, 1, "are lost"),
    ]

    @Test func `every bug has its place in the table`() {
        #expect(MutantTests.findings.map(\.bug) == Mutant.Bug.allCases)
    }

    @Test(arguments: MutantTests.findings)
    func `a bug is found, and by the rule that it breaks`(finding: MutantTests.Finding) throws {
        let broken = Experiment(MutantTests.life, faults: ["conflicts"]) { Mutant(finding.bug) }
        let experiment = try #require(broken)
        let failure = experiment.explore(cases: finding.seeds, seed: 3, shrinkLimit: 0)
        #expect(failure?.firstMessage.contains(finding.word) ?? false, "\(failure?.description ?? "nobody noticed")")
    }

    /// A thousand seeds: a hundred times as many as a bug needs at most.
    @Test func `what ships passes the same life`() throws {
        let experiment = try #require(Experiment(MutantTests.life, faults: ["conflicts"]))
        let most = try #require(MutantTests.findings.map(\.seeds).max())
        let failure = try experiment.explore(cases: PropertyEnvironment().cases ?? 100 * most, seed: 3)
        #expect(failure == nil, "\(failure?.description ?? "")")
    }

    struct Finding: Sendable, CustomStringConvertible {
        let bug: Mutant.Bug
        let seeds: Int
        let word: String
        var description: String { bug.rawValue }

        init(_ bug: Mutant.Bug, _ seeds: Int, _ word: String) {
            self.bug = bug
            self.seeds = seeds
            self.word = word
        }
    }
}
