// SPDX-License-Identifier: MIT

import Foundation
import Glibc

/// Whether somebody else uses the machine while it is measured: other programs, or the host below it.
struct Machine {
    private let start = Machine.processorTimes()

    /// Others are at work already.
    var warningAtStart: String? {
        var loads = [0.0]
        guard unsafe getloadavg(&loads, 1) == 1, loads[0] > 0.3 * Double(Machine.processorCount) else { return nil }
        let load = String(format: "%.1f", loads[0])
        return "warning: the load is \(load) on \(Machine.processorCount) processors: only paired ratios mean something"
    }

    /// The host took processor time away meanwhile.
    var warningAtEnd: String? {
        guard let start, let end = Machine.processorTimes(), end.all > start.all else { return nil }
        let stolen = (end.stolen - start.stolen) / (end.all - start.all)
        guard stolen > 0.02 else { return nil }
        return "warning: \(String(format: "%.0f", stolen * 100)) % of the processor time was stolen by the host"
    }

    private static var processorCount: Int { ProcessInfo.processInfo.activeProcessorCount }

    /// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
    private static func processorTimes() -> (all: Double, stolen: Double)? {
        guard let text = try? String(contentsOfFile: "/proc/stat", encoding: .utf8) else { return nil }
        let times = text.prefix { $0 != "\n" }.split(separator: " ").dropFirst().prefix(8).compactMap { Double($0) }
        guard times.count == 8 else { return nil }
        return (times.reduce(0, +), times[7])
    }
}

/// The memory of this process that is in use, as the kernel counts it, without what was freed: that is given back to the kernel first.
func residentBytes() -> Int {
    // Of `malloc.h`, which the toolchain's module of the C library leaves out.
    if let function = unsafe dlsym(nil, "malloc_trim") {
        _ = unsafe unsafeBitCast(function, to: (@convention(c) (Int) -> Int32).self)(0)
    }
    let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
    let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    return pages * Int(getpagesize())
}

/// How often a thread of this process has gone to sleep of its own will, and so was woken.
func wakeUps() -> Int {
    var usage = rusage()
    unsafe getrusage(0, &usage)  // RUSAGE_SELF
    return usage.ru_nvcsw
}
