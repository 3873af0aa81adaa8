#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compiles floor 1 as Embedded Swift for bare metal and looks at the object code of each ring operation: which barriers
# are in it and in the ring functions that it calls. Says what it found, and fails if that is not what should be there.
#
#   x86_64   no fence and no locked instruction
#   aarch64  one ldar and one stlr an operation, no dmb
#   riscv64  "fence r, rw" and "fence rw, w", nothing heavier
#
# and exactly one full fence in each half of the notification between two own ends, of which one may sleep. Nor may any of
# them reach a function that allocates, frees or counts references: the object code of all sizes and all errors, at once.
#
# The handshakes, which a unikernel takes as well, are compiled only.
set -euo pipefail
cd "$(dirname "$0")/../.."
objdump=${LLVM_OBJDUMP:-$(command -v llvm-objdump || find /usr/bin -name 'llvm-objdump-*' | sort -V | tail -n 1)}
command -v "$objdump" > /dev/null || { echo "check.sh: no ${objdump:-llvm-objdump}; set LLVM_OBJDUMP" >&2; exit 2; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

embedded() { # target, module, sources...
    swiftc -enable-experimental-feature Embedded -swift-version 6 -strict-memory-safety -warnings-as-errors -wmo \
        -parse-as-library -O -target "$1" -package-name xen -I "$out/$1" \
        -emit-module -emit-module-path "$out/$1/$2.swiftmodule" -module-name "$2" -c "${@:3}" -o "$out/$2-$1.o"
}

# Prints "function acquire release full heap" for each function named, over all the ring code it reaches.
barriers() { # target, functions...
    { "$objdump" -t "$out/XenRing-$1.o"; "$objdump" -dr --no-show-raw-insn "$out/XenRing-$1.o"; } |
        awk -v target="$1" -v wanted="${*:2}" '
        function add(kind) { count[current, kind]++ }
        / F \.text\t/ { begins[$1] = $NF; next }
        # A label inside a function begins with .L or $ and a letter alone; at the beginning of one it hides its name.
        /^[0-9a-f]+ <(\.L|\$[a-z](\.[0-9]+)?>).*:$/ { if ($1 in begins) { current = begins[$1]; known[current] = 1 } next }
        /^[0-9a-f]+ <.*>:$/ { current = $2; gsub(/[<>:]/, "", current); known[current] = 1; next }
        # A call shows as a relocation or, within the section, as a symbol without an offset.
        /R_[A-Z0-9_]*(CALL|PLT|PC32)/ { callee = $3; sub(/[-+]0x.*/, "", callee); calls[current] = calls[current] " " callee }
        /<[^>+]*>/ { callee = $0; sub(/.*</, "", callee); sub(/>.*/, "", callee); calls[current] = calls[current] " " callee }
        target ~ /^aarch64/ && /[ \t]ldarb?[ \t]/ { add("acquire") }
        target ~ /^aarch64/ && /[ \t]stlrb?[ \t]/ { add("release") }
        target ~ /^aarch64/ && /[ \t](dmb|dsb|isb)([ \t]|$)/ { add("full") }
        target ~ /^riscv64/ && /[ \t]fence[ \t]+r, *rw/ { add("acquire"); next }
        target ~ /^riscv64/ && /[ \t]fence[ \t]+rw, *w/ { add("release"); next }
        target ~ /^riscv64/ && /[ \t](fence|amo[a-z]*|lr|sc)([. \t]|$)/ { add("full") }
        target ~ /^x86_64/ && /[ \t](lock|mfence|lfence|sfence|xchg[a-z]*)([ \t]|$)/ { add("full") }
        function visit(name,    list, n, i) {
            if (seen[name] || !known[name]) return
            seen[name] = 1
            n = split(calls[name], list, " ")
            for (i = 1; i <= n; i++) if (list[i] ~ /^(swift_|malloc|free$|posix_memalign|calloc|realloc|aligned_alloc)/) heap++
            acquire += count[name, "acquire"]; release += count[name, "release"]; full += count[name, "full"]
            # Only the ring counts: the library under it (memcpy, traps) orders nothing.
            for (i = 1; i <= n; i++) if (list[i] ~ /7XenRing/) visit(list[i])
        }
        END {
            n = split(wanted, list, " ")
            for (i = 1; i <= n; i++) {
                if (!known[list[i]]) { print list[i], "missing"; continue }
                for (name in seen) delete seen[name]
                acquire = release = full = heap = 0
                visit(list[i])
                print list[i], acquire, release, full, heap
            }
        }'
}

# Acquires, releases, full barriers and calls to the heap. x86-64 needs no instruction for the first two.
expected() { # target, function
    case "$2 $1" in
        "ring_needs_notification "*) echo "0 0 0 0" ;;
        "ring_may_have_fallen_asleep "*) echo "0 0 1 0" ;;
        "ring_may_sleep x86_64"*) echo "0 0 1 0" ;;
        *" x86_64"*) echo "0 0 0 0" ;;
        "ring_write "* | "ring_read "*) echo "1 1 0 0" ;;
        "ring_may_sleep "*) echo "1 0 1 0" ;;
        "ring_peek "* | "ring_connection "*) echo "1 0 0 0" ;;
        "ring_advance "*) echo "0 1 0 0" ;;
        "ring_attach_frontend "*) echo "2 0 0 0" ;;
        "ring_echo "*) echo "2 2 0 0" ;;
        *) echo "?" ;;
    esac
}

failures=0
for target in x86_64-unknown-none-elf aarch64-none-none-elf riscv64-none-none-eabi; do
    mkdir "$out/$target"
    embedded "$target" XenRing Sources/XenRing/*.swift Tests/EmbeddedShim/*.swift
    for module in XenExploration XenInterface XenBus; do
        embedded "$target" "$module" Sources/"$module"/*.swift
    done
    while read -r name found; do
        want=$(expected "$target" "$name")
        verdict=ok
        if [ "$found" != "$want" ]; then
            verdict="expected $want"
            failures=$((failures + 1))
        fi
        printf '%-24s %-28s acquire, release, full, heap: %-9s %s\n' "$target" "$name" "$found" "$verdict"
    done < <(barriers "$target" ring_attach_frontend ring_write ring_read ring_peek ring_advance \
        ring_needs_notification ring_may_have_fallen_asleep ring_may_sleep ring_connection ring_echo)
done
[ "$failures" -eq 0 ] || { echo "check.sh: $failures functions are not as they should be" >&2; exit 1; }
