// SPDX-License-Identifier: MIT

/// What `--help` prints: a screen each, with examples.
enum Help {
    static let overview = """
        usage: xenchan COMMAND [OPTION]...

        Xen PV channels without Xen: named byte streams between a guest and its host.

          run        a simulated host and guest, with real sockets and terminals outside
          list       the channels of a running world, in the layout of 'xl channel-list'
          store      a xenstore on a Unix socket, for the stock clients
          simulate   many worlds from many seeds, with faults, looking for a failure
          replay     one run of a world, step by step, from the line a failure printed
          ring       a console page as a person would draw it, and what is wrong with it
          check      the ring's memory orderings, proven
          help       this text, or that of a command

        'xenchan COMMAND --help' says more.
        """

    static let texts = [
        "run": run, "list": list, "store": store, "simulate": simulate, "replay": replay, "ring": ring,
        "check": check,
    ]

    private static let run = """
        usage: xenchan run [--channel SPEC]... [--console KIND] [OPTION]...

        Runs a host and a guest in this process. Each channel is served on a real Unix socket or
        pseudo-terminal, goes through the whole Xen path, and ends at an agent in the guest.
        Ends in order at Ctrl-C, SIGTERM or SIGHUP.

          --channel SPEC      as in xl.cfg: connection=socket,path=PATH,name=NAME
                                            connection=pty,name=NAME
          --agent NAME=KIND   what the guest starts for the channel NAME:
                                echo            gives every byte back (the default)
                                discard         takes every byte
                                exec:COMMAND    a program; the channel is its input and output,
                                                and closes when it ends, and whoever it leaves
                                                these to
                                respawn:COMMAND a program that is started again whenever it ends
                                pty             a terminal, like /dev/hvc1, for an agent of yours
          --console KIND      gives the guest a primary console, device 0, with such an agent on it,
                              where a program is always started again, as init does with a getty;
                              'XENSTORED_PATH=PATH xenconsole 1 --type pv' attaches to it
          --overflow NAME=POLICY
                              what becomes of the guest's bytes when nobody takes them and as
                              many wait as may (the store's 'limit', 1 MiB):
                                block:SECONDS:drop  the guest waits; after so long without a byte
                                                    taken, as drop (the default, with 5 seconds)
                                block:SECONDS:disconnect
                                block               the guest waits, for ever if need be: that
                                                    freezes a processor of a Linux guest
                                drop                the middle of what waits is dropped
                                disconnect          the client is disconnected, what waits dropped
          --durability NAME=KIND
                              where they wait: backlog, lost if this process is killed (the
                              default), or ring: none is lost, but only 2048 bytes can wait
          --store PATH        publish the store here; XENSTORED_PATH=PATH xenstore-ls shows it
          --json              one JSON object a line

        examples:
          xenchan run --channel connection=socket,path=/tmp/agent.sock,name=org.example.agent.1
          socat - UNIX-CONNECT:/tmp/agent.sock

          xenchan run --channel connection=pty,name=org.example.shell \\
                      --agent 'org.example.shell=exec:exec bc -q'
        """

    private static let list = """
        usage: xenchan list [DOMID]... [--store PATH] [--json]

        Lists the channels of the running world, or of any xenstore on a Unix socket.
        'Idx' counts the channels of a guest; state, port and grant are those of its device,
        whatever its number. -1 stands for what is not there yet.

          --store PATH    the socket of the store (default: the world that runs)
          --json          one JSON object a line, with devid and name

        examples:
          xenchan list
          xenchan list 1 --store /run/xenstored/socket
        """

    private static let store = """
        usage: xenchan store --socket PATH [--import FILE]

        Serves a xenstore on a Unix socket, as xenstored does, until Ctrl-C.

          --socket PATH    where to listen
          --import FILE    begin with this tree, as 'xenstore-ls -fp' prints it ('-': standard input)

        examples:
          xenchan store --socket /tmp/store
          XENSTORED_PATH=/tmp/store xenstore-write /a/b hello
          xenstore-ls -fp > host.txt && xenchan store --socket /tmp/store --import host.txt
        """

    private static let simulate = """
        usage: xenchan simulate --seeds N [OPTION]...

        Runs a scenario from N seeds, each with another order of steps and other faults, and checks
        the rules of the protocol at every step. Stops at the first failure, makes it small, prints
        how to repeat it, and exits with 1. Ctrl-C ends it with what was found so far.

          --seeds N          how many seeds
          --seed S           where the series of seeds begins (default 0; 0x2a is hexadecimal)
          --scenario NAME    cloud-early-config, agent-query, exchange, hotplug, backend-restart,
                             console, crowd, thousand, mixed (the default)
          --faults LIST      events, watches, conflicts, store, resources, crashes, stalls, saving,
                             closing, clients, hostile, all, none (the default), or single faults
          --preemptions N    interrupt an actor that has something to do at most N times a run; most
                             bugs of order need two or three (default: as often as chance has it)
          --jobs N           how many threads (default 1)
          --json             one JSON object at the end
          --verbose          say which events met the handshakes in no run, by state

        examples:
          xenchan simulate --seeds 1000
          xenchan simulate --seeds 100000 --faults events,crashes,clients --jobs 2
          xenchan simulate --seeds 100 --scenario hotplug --faults events,watches,stalls
          xenchan simulate --seeds 10000 --scenario exchange --preemptions 2
        """

    private static let replay = """
        usage: xenchan replay RECIPE [--diagram] [--svg FILE] [--diff RECIPE] [--at STEP]

        Repeats one run of the simulator and prints its trace: one line a step, one column an actor.

          --diagram     the trace as a sequence diagram
          --svg FILE    writes the sequence diagram into a file as well: a regular one is replaced
                        when all is written, any other, and what a link points at, written into
          --diff RECIPE where the runs of two recipes part, and how each goes on; exit code 1 if they do
          --at STEP     instead of a trace, the store's tree and each channel's rings after that step

        examples:
          xenchan replay xensim1:cloud-early-config:seed=2a
          xenchan replay xensim1:mixed+events:seed=7 --svg run.svg
          xenchan replay xensim1:mixed+events+preemptions=2:seed=7 --diagram
        """

    private static let ring = """
        usage: xenchan ring [FILE] [--bytes N]

        Shows a page of 4096 bytes, from a file or standard input: both rings with the part in
        use, the indices, the connection byte, the bytes that wait. Ends with 1 if something is
        wrong with it.

          --bytes N    show at most so many bytes of each ring (default: 256)

        examples:
          xenchan ring Fixtures/rings/ring-b-in16-chan1.bin
          ssh dom0 cat page.bin | xenchan ring
        """

    private static let check = """
        usage: xenchan check [--quick] [--executions] [--document] [--json]
               xenchan check RECIPE

        Explores the ring as it ships over every interleaving, and every value that weakly ordered
        memory lets a load return, on rings of a few bytes. Then leaves out each memory ordering
        in turn, to show that it is needed. Ends with 1 if the ring breaks a rule.

          --quick         smaller scenarios: seconds, also in a debug build
          --executions    print the execution that breaks without each ordering
          --document      print the article of the documentation
          --json          one JSON object a scenario
          RECIPE          repeat one execution, from the line that a failure prints

        The model is RC11: loads are not reordered behind later stores of the same thread.
        """
}
