#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Fuzzes the ring with libFuzzer and the address sanitizer: run.sh [seconds] [further libFuzzer options]
# A crash leaves its input in the current directory; run.sh 0 FILE repeats it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# The linker has a lot of harmless things to say about the sanitizer's symbols.
swiftc -O -swift-version 6 -parse-as-library -sanitize=fuzzer,address -module-name RingFuzz \
    "$root"/Sources/XenRing/*.swift "$root"/Tests/RingFuzz/RingFuzz.swift -o "$out/fuzz" 2> "$out/log" \
    || { cat "$out/log" >&2; exit 2; }
seconds=${1:-60}
[ $# -eq 0 ] || shift
export ASAN_OPTIONS=detect_leaks=0 SWIFT_BACKTRACE=enable=no
if [ "$seconds" = 0 ]; then
    "$out/fuzz" "$@"
else
    "$out/fuzz" -max_total_time="$seconds" -max_len=512 -print_final_stats=1 "$@"
fi
