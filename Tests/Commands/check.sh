#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the commands of the README as a newcomer would, with socat and the stock xenstore clients at the other end.
# Takes the xenchan and the Benchmarks that `swift build -c release` made.
#
# Waits for what it wants to see, and for as long as a busy machine may take: nothing here is to depend on how fast it is.
set -euo pipefail
cd "$(dirname "$0")/../.."
# What it was started with must not matter either: descriptors and ignored signals, which programs would inherit.
if [ "${CHECK_PROCESS:-}" != $$ ]; then
    for descriptor in /proc/$$/fd/*; do
        descriptor=${descriptor##*/}
        [ "$descriptor" -le 2 ] || exec {descriptor}>&-
    done
    CHECK_PROCESS=$$ exec env --default-signal "$BASH" Tests/Commands/check.sh
fi
exec </dev/null
export LC_ALL=C
products=$(swift build -c release --show-bin-path)
xenchan=$products/xenchan
benchmarks=$products/Benchmarks
folder=$(mktemp -d)
if [[ ${#folder} -gt 80 || $folder == *[^a-zA-Z0-9/._-]* ]]; then # a socket's path is short, and a plain word to socat
    rmdir "$folder"
    folder=$(mktemp -d -p /tmp)
fi
export XDG_RUNTIME_DIR=$folder
world=
crowd=()
cleanup() {
    [ -z "$world" ] || kill "$world" 2>/dev/null || true
    [ ${#crowd[@]} = 0 ] || kill "${crowd[@]}" 2>/dev/null || true
    rm -rf "$folder"
}
trap cleanup EXIT
disperse() { # ends the others
    kill "${crowd[@]}" 2>/dev/null || true
    wait "${crowd[@]}" 2>/dev/null || true
    crowd=()
}
passed=0
check() { # description, wanted, found
    if [ "$2" != "$3" ]; then
        printf 'FAILED: %s\n  wanted: %s\n  found:  %s\n' "$1" "$2" "$3" >&2
        exit 1
    fi
    passed=$((passed + 1))
}
soon() { # a condition; waits until it holds, for a minute: what is checked next says whether it did
    for _ in $(seq 1200); do "$@" && return; sleep 0.05; done
}
has_begun() { # how many channels; all of them are connected, or the world has ended
    [ "$(wc -l <"$folder/out")" -ge "$1" ] || ! kill -0 "$world" 2>/dev/null
}
start() { # arguments of xenchan run; waits until the channels are connected
    : >"$folder/out" # what the world before has said is not to be taken for this one's words
    "$xenchan" run "$@" >"$folder/out" 2>"$folder/err" &
    world=$!
    soon has_begun "$(printf '%s\n' "$@" | grep -c -e '^--channel$' -e '^--console$')"
    [ -s "$folder/out" ] && kill -0 "$world" && return
    cat "$folder/err" >&2
    exit 1
}
ask() { # a line, and where to in socat's words: the line that comes back; with a third word the writing half is shut down first
    local answer= client typed
    coproc socat -t60 - "$2"
    client=$COPROC_PID typed=${COPROC[1]}
    echo "$1" >&"$typed"
    [ -z "${3:-}" ] || exec {typed}>&-
    read -r -t 60 answer <&"${COPROC[0]}" || true
    kill "$client" || true
    wait "$client" || true
    echo "$answer"
}
stop() { # returns the exit code of the world
    local code=0
    kill -INT "$world"
    wait "$world" || code=$?
    world=
    return $code
}

start --channel "connection=socket,path=$folder/echo.sock,name=echo" \
    --channel "connection=pty,name=terminal" \
    --channel "connection=socket,path=$folder/cat.sock,name=cat" --agent "cat=exec:cat" \
    --channel "connection=socket,path=$folder/agent.sock,name=agent" --agent "agent=pty" \
    --store "$folder/store"
check "an echo over a socket" "hello" "$(ask hello "UNIX-CONNECT:$folder/echo.sock" shut)"
check "the socket's mode" "600" "$(stat -c %a "$folder/echo.sock")"
tty=$(sed -n 's/^terminal .* pty \(\/dev\/[^ ]*\).*/\1/p' "$folder/out")
check "an echo over a terminal" "over a terminal" "$(ask "over a terminal" "$tty,raw,echo=0")"
check "the next reader of the terminal" "once more" "$(ask "once more" "$tty,raw,echo=0")"
agent=$(sed -n 's/.*agent at \(.*\)/\1/p' "$folder/out")
echo "read -r line; echo \"\$line\" >'$folder/agent.out'; echo from the agent; exec cat" >"$folder/agent"
socat "$agent,raw,echo=0" "EXEC:bash $folder/agent" &
crowd=($!)
check "an agent at a terminal answers" "from the agent" "$(ask "to the agent" "UNIX-CONNECT:$folder/agent.sock")"
check "an agent at a terminal is asked" "to the agent" "$(cat "$folder/agent.out")"
disperse

head -c 100000000 /dev/urandom >"$folder/sent"
timeout 600 head -c 100000000 < <(
    exec socat -t600 -b65536 "UNIX-CONNECT:$folder/cat.sock" - <"$folder/sent"
) | sha256sum >"$folder/received" &
bulk=$!
check "another channel meanwhile" "quick" "$(ask quick "UNIX-CONNECT:$folder/echo.sock")"
wait $bulk
check "100 MB through a program and back" "$(sha256sum <"$folder/sent")" "$(cat "$folder/received")"
rm "$folder/sent"

export XENSTORED_PATH=$folder/store
check "xenstore-read" "echo" "$(xenstore-read /local/domain/1/device/console/1/name)"
check "xenstore-list" "1 2 3 4" "$(xenstore-list /local/domain/0/backend/console/1 | tr '\n' ' ' | sed 's/ $//')"
xenstore-write /tool/x "a value" && check "xenstore-write" "a value" "$(xenstore-read /tool/x)"
xenstore-rm /tool/x && check "xenstore-rm" "1" "$(xenstore-exists /tool/x; echo $?)"
# The real console client, where there is one: XENCONSOLE names it, with LD_LIBRARY_PATH if need be.
if [ -n "${XENCONSOLE:-}" ]; then
    check "xenconsole" "over a console" "$( (sleep 1; echo over a console; sleep 1) |
        timeout 10 socat -t1 - "EXEC:$XENCONSOLE 1 --type pv --num 2,pty,raw,echo=0")"
fi
check "xenchan list" "0   0  4" "$("$xenchan" list --store "$folder/store" | sed -n 's/^\(0   0  4\).*/\1/p')"
stop && code=0 || code=$?
check "Ctrl-C ends in order" "0" "$code"
check "nothing is left behind" "" "$(find "$folder" -type s)"
check "nothing is complained of" "" "$(cat "$folder/err")"

start --console exec:cat --store "$folder/store"
tty=$(sed -n 's/^console  device 0  connected  pty \(\/dev\/[^ ]*\)$/\1/p' "$folder/out")
check "the primary console's terminal" "$tty" "$(xenstore-read /local/domain/1/console/tty)"
check "an echo over the primary console" "over device 0" "$(ask "over device 0" "$tty,raw,echo=0")"
if [ -n "${XENCONSOLE:-}" ]; then
    check "xenconsole at device 0" "attached" "$( (sleep 1; echo attached; sleep 1) |
        timeout 10 socat -t1 - "EXEC:$XENCONSOLE 1 --type pv,pty,raw,echo=0")"
fi
stop && code=0 || code=$?
check "a world with a primary console ends in order" "0" "$code"
check "nothing is complained of there" "" "$(cat "$folder/err")"

start --channel "connection=socket,path=$folder/drop.sock,name=drop" --overflow drop=drop \
    --agent "drop=exec:head -c 5000000 /dev/zero; echo end; exec cat" \
    --channel "connection=socket,path=$folder/kept.sock,name=kept" --durability kept=ring --overflow kept=block \
    --agent "kept=exec:seq 20000; echo end; exec cat" --store "$folder/store"
soon grep -q dropped "$folder/err"
until_the_end() { # a socket: what comes out of it
    timeout 60 sed '/end$/q' < <(exec socat -u "UNIX-CONNECT:$folder/$1.sock" -)
}
check "what nobody took is dropped from the middle, and the end is there" "end" \
    "$(until_the_end drop | tail -n 1 | tr -d '\0')"
check "what waits in the ring is all there" "$( (seq 20000; echo end) | sha256sum)" "$(until_the_end kept | sha256sum)"
code=0
kill -HUP "$world"
wait "$world" || code=$?
world=
check "a hang-up ends in order" "0" "$code"
check "the first drop and the total are told" "2" "$(grep -c '^xenchan: .*dropped' "$folder/err")"

ten=()
for number in $(seq 10); do ten+=(--channel "connection=pty,name=number$number"); done
start "${ten[@]}" --store "$folder/store"
stop && code=0 || code=$?
check "a world of ten channels ends in order" "0" "$code"
check "device 10 is warned of, 1 to 9 are not" "xenchan: warning: a Linux guest cannot use device 10, only 1 to 9" \
    "$(cat "$folder/err")"

descriptors=$(ulimit -Sn)
ulimit -Sn 64
start --channel "connection=socket,path=$folder/echo.sock,name=echo" --store "$folder/store"
for _ in $(seq 60); do
    xenstore-watch /none >/dev/null 2>&1 &
    crowd+=($!)
done
soon [ -s "$folder/err" ]
check "a crowd at the store leaves descriptors to the channels" "served" "$(ask served "UNIX-CONNECT:$folder/echo.sock")"
check "that is told once" "xenchan: accept $folder/store: few descriptors are left; further clients wait" \
    "$(cat "$folder/err")"
disperse
check "the store is served when they have left" "echo" \
    "$(timeout 60 xenstore-read /local/domain/1/device/console/1/name)"
stop && code=0 || code=$?
check "that world ends in order" "0" "$code"
ulimit -Sn "$descriptors"

start --channel "connection=socket,path=$folder/cat.sock,name=cat" --agent "cat=exec:cat" --store "$folder/store"
# Room for the store's client below, and not for the pipes of another program: one number that is free.
free=0
while [ -L "/proc/$world/fd/$free" ]; do free=$((free + 1)); done
prlimit --pid "$world" --nofile="$((free + 1)):"
xenstore-write /local/domain/1/device/console/1/state 6
soon [ -s "$folder/err" ]
check "an agent cannot be started again" "1" "$(grep -c 'Too many open files' "$folder/err")"
sleep 0.3
check "the world goes on when its only channel does not" "guest" "$(timeout 60 xenstore-read /local/domain/1/name)"
stop && code=0 || code=$?
check "and ends in order" "0" "$code"

(sleep 0.3; exec "$xenchan" store --socket "$folder/alone") > >(true) &
world=$!
soon [ -S "$folder/alone" ]
check "a store whose lines nobody reads goes on" "0" \
    "$(XENSTORED_PATH=$folder/alone timeout 60 xenstore-exists /tool; echo $?)"
stop && code=0 || code=$?
check "and ends in order as well" "0" "$code"

"$xenchan" store --socket "$folder/alone" <&- >&- 2>"$folder/err" &
world=$!
soon [ -S "$folder/alone" ]
stop && code=0 || code=$?
check "lines for a closed output do not go to whoever has its number" "xenchan: standard output: Bad file descriptor" \
    "$(cat "$folder/err")"

mkfifo "$folder/typed"
"$xenchan" store --socket "$folder/alone" --import - <>"$folder/typed" &
world=$!
sleep 0.3
code=0
kill -TERM "$world"
wait "$world" || code=$?
world=
check "a tree that is being typed can be broken off" "143" "$code"

exits() { local code=0; timeout 120 "$xenchan" "$@" >"$folder/out" 2>"$folder/err" || code=$?; echo $code; }
check "a wrong specification" "2" "$(exits run --channel connection=tcp,name=x)"
check "its message" "xenchan: --channel 'connection=tcp,name=x': unknown channel connection 'tcp'" \
    "$(head -n 1 "$folder/err")"
check "a folder that is not there" "1" "$(exits run --channel "connection=socket,path=$folder/no/x,name=x")"
check "the path is named" "1" "$(grep -c "$folder/no/x: No such file" "$folder/err")"
echo precious >"$folder/file"
check "a file in the way" "1" "$(exits run --channel "connection=socket,path=$folder/file,name=x")"
check "the file is left alone" "precious" "$(cat "$folder/file")"
check "no such policy" "2" "$(exits run --channel "connection=pty,name=x" --overflow x=lose)"
check "no such durability" "2" "$(exits run --channel "connection=pty,name=x" --durability x=disk)"
check "no such channel" "2" "$(exits run --channel "connection=pty,name=x" --overflow y=drop)"
check "no such command" "2" "$(exits frobnicate)"
refused() { # the first line's words; the arguments
    local words=$1
    shift
    check "xenchan $* is refused" "2" "$(exits "$@")"
    check "what is said to xenchan $*" "xenchan: $words" "$(head -n 1 "$folder/err")"
}
refused "--store needs a value, not an empty one" run --channel connection=pty,name=x --store ''
refused "--store is given more than once" list --store a --store=b
refused "--agent is given more than once for x" run --channel connection=pty,name=x --agent x=echo --agent x=discard
refused "--seed needs a value" simulate --seeds 1 --seed
refused "--jobs takes a number from 1 to 64, not '99999999999999999999'" simulate --seeds 1 --jobs 99999999999999999999
refused "--preemptions takes a number from 0 to 9223372036854775807, not '-1'" simulate --seeds 1 --preemptions -1
refused "--faults is none or a list without it, not 'none,all'" simulate --seeds 1 --faults none,all
check "an empty fault" "2" "$(exits simulate --seeds 1 --faults events,)"
refused "--at and --svg do not go together" replay xensim1:mixed:seed=7 --svg "$folder/x.svg" --at 5
refused "--document and --json do not go together" check --quick --json --document
refused "a recipe's execution is repeated as it is, without --quick" check --quick xensim1:mixed:seed=7
refused "'x': not a recipe: it does not begin with xensim1:" replay x
refused "unexpected argument 'b'" ring a b
refused "there is no command 'x'; there is check, list, replay, ring, run, simulate, store" help x
check "a page that is not there" "1" "$(exits ring "$folder/no")"
check "its path is named" "xenchan: open $folder/no: No such file or directory" "$(cat "$folder/err")"
check "a tree that is none" "1" "$(exits store --socket "$folder/alone" --import README.md)"
check "its file and line are named" "xenchan: import README.md: line 1" "$(cut -d ' ' -f 1-5 "$folder/err")"
check "a full disk" "1" "$("$xenchan" help >/dev/full 2>"$folder/err" && echo 0 || echo $?)"
check "the disk is named" "xenchan: standard output: No space left on device" "$(cat "$folder/err")"
for command in run list store ring check simulate replay; do check "$command --help" "0" "$(exits $command --help)"; done

"$xenchan" store --socket "$folder/alone" --import Fixtures/lifecycle/xs-1paused-all.txt >"$folder/out" &
world=$!
soon [ -S "$folder/alone" ]
check "an imported tree comes out as it went in" "" \
    "$(XENSTORED_PATH=$folder/alone xenstore-ls -fp | diff - Fixtures/lifecycle/xs-1paused-all.txt)"
stop && code=0 || code=$?
check "the store ends in order" "0" "$code"

check "a few worlds that go wrong" "0" "$(exits simulate --seeds 20 --seed 1 --faults all)"
check "a thousand guests, which take the tests too long" "0" "$(exits simulate --seeds 1 --scenario thousand)"
check "a thousand of which some go wrong" "0" "$(exits simulate --seeds 1 --scenario thousand --faults all)"
"$xenchan" simulate --seeds 1000000000 --faults all --json >"$folder/out" &
world=$!
listens() { grep -q '^SigBlk:.*[2367abef]$' "/proc/$world/status"; } # SIGINT waits for whoever asks for it
soon listens
stop && code=0 || code=$?
check "a long series ends in order" "0" "$code"
check "and says what it has seen" "1" "$(grep -c '"stopped":true' "$folder/out")"
check "a world that breaks a promise of Xen's" "1" "$(exits simulate --seeds 50 --seed 1 --faults droppedEvent --json)"
broken=$(sed -n 's/.*"recipe":"\([^"]*\)".*/\1/p' "$folder/out")
check "its recipe fails as well" "1" "$(exits replay "$broken")"
check "in the same way" "yes" "$(grep -q "^failed after [0-9]* steps: .* sleeps$" "$folder/out" && echo yes)"
check "one that few interruptions suffice for" "1" \
    "$(exits simulate --seeds 50 --seed 1 --faults droppedEvent --preemptions 2 --jobs 2 --json)"
few=$(sed -n 's/.*"recipe":"\([^"]*\)".*/\1/p' "$folder/out")
check "its recipe says how few" "xensim1:mixed+droppedEvent+preemptions=2" "${few%:*}"
check "and fails as well" "1" "$(exits replay "$few")"
check "as it did" "yes" "$(grep -q "^failed after [0-9]* steps: .* sleeps$" "$folder/out" && echo yes)"
mv "$folder/out" "$folder/trace"
check "with the same trace in another process" "1" "$(exits replay "$few")"
check "line by line" "" "$(diff "$folder/out" "$folder/trace")"
check "not without the bound" "1" "$(exits replay "${few/+preemptions=2/}")"
check "an older recipe" "2" "$(exits replay "xensim0${broken#xensim1}")"
check "is called that" "1" "$(grep -c 'is of format 0, and this program reads format 1$' "$folder/err")"
check "a recipe of another program" "1" "$(exits replay "${broken%~*}~0")"
check "is called so" "1" "$(grep -c 'no longer fits the program' "$folder/err")"
recipe=xensim1:mixed+all:seed=7
"$xenchan" replay $recipe >"$folder/trace"
check "a run has its steps" "yes" "$([ "$(wc -l <"$folder/trace")" -gt 200 ] && echo yes)"
for process in 2 3 4; do # each hashes in its own way
    check "the same trace in process $process" "" "$("$xenchan" replay $recipe | diff - "$folder/trace")"
done

mkfifo "$folder/pipe"
timeout 120 cat "$folder/pipe" >"$folder/through" &
crowd=($!)
check "a diagram into a pipe" "0" "$(exits replay $recipe --svg "$folder/pipe")"
check "the pipe is still one" "yes" "$([ -p "$folder/pipe" ] && echo yes)"
wait "${crowd[@]}"
crowd=()
check "all of it came through" "</svg>" "$(tail -n 1 "$folder/through")"
mkdir "$folder/svg"
echo old >"$folder/svg/target"
ln -s target "$folder/svg/link"
check "a diagram through a link" "0" "$(exits replay $recipe --svg "$folder/svg/link")"
check "the link is still one" "target" "$(readlink "$folder/svg/link")"
check "what it points at is written" "" "$(diff "$folder/through" "$folder/svg/target")"
echo old >"$folder/svg/target"
chmod 640 "$folder/svg/target"
ln "$folder/svg/target" "$folder/svg/reader"
check "a diagram in the place of another" "0" "$(exits replay $recipe --svg "$folder/svg/target")"
check "it is replaced in one step" "old" "$(cat "$folder/svg/reader")"
check "by all of the new one, with the same mode" "640" \
    "$(diff "$folder/through" "$folder/svg/target" && stat -c %a "$folder/svg/target")"
check "nothing else is left there" "link reader target" "$(echo $(ls "$folder/svg"))"
check "a diagram for a folder that is not there" "1" "$(exits replay $recipe --svg "$folder/no/x.svg")"
check "which is said" "xenchan: open $folder/no/x.svg: No such file or directory" "$(cat "$folder/err")"

measures() { local code=0; TMPDIR=$folder/tmp timeout 120 "$benchmarks" "$@" >"$folder/out" 2>"$folder/err" || code=$?; echo $code; }
mkdir "$folder/tmp"
check "figures for a folder that is not there" "1" "$(measures checker/ --json "$folder/no/x")"
check "that is found before they are measured" \
    "Benchmarks: --json $folder/no/x: No such file or directory: nothing is measured" "$(cat "$folder/err")"
check "what has no tool to measure it" "1" "$(PATH=/none /usr/bin/env PATH=/none "$benchmarks" ring/instructions \
    >"$folder/out" 2>"$folder/err" || echo $?)"
check "is called by its name" "1" "$(grep -c '^ring/instructions: not measured: needs' "$folder/err")"
TMPDIR=$folder/tmp "$benchmarks" path/ --quick >"$folder/out" 2>"$folder/err" &
world=$!
soon sh -c '[ -n "$(ls "$0")" ]' "$folder/tmp"
code=0
kill -TERM "$world"
wait "$world" || code=$?
world=
check "a measurement that is told to end" "143" "$code"
check "leaves nothing behind" "" "$(ls "$folder/tmp")"
printf '%s passed, 0 failed\n' "$passed"
