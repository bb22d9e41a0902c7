%% The programs of the suite `actor` in Erlang: see src/actors/programs for what each does.
%%
%% Reads lines `workload size` from standard input and answers with nanoseconds; for `idle` with bytes, too.
-module(savina).
-export([main/0]).
-export([init/1, start_child/1]).
-behaviour(supervisor).

main() ->
    case io:get_line("") of
        eof -> halt(0);
        Line ->
            [Workload, Size] = string:lexemes(string:trim(Line), " "),
            Me = self(),
            %% Each program in a process of its own: nothing is left in the mailbox.
            {_, Monitor} = spawn_monitor(fun() -> Me ! {answer, run(Workload, list_to_integer(Size))} end),
            receive
                {answer, Values} ->
                    demonitor(Monitor, [flush]),
                    io:format("~s~n", [lists:join(" ", [integer_to_list(Value) || Value <- Values])]);
                {'DOWN', Monitor, process, _, Reason} ->
                    io:format(standard_error, "~s failed: ~p~n", [Workload, Reason]),
                    halt(1)
            end,
            main()
    end.

run("ping-pong", N) -> timed(fun() -> ping_pong(N) end);
run("counting", N) -> timed(fun() -> counting(N) end);
run("tell", N) -> timed(fun() -> tell(N) end);
run("ask", N) -> timed(fun() -> ask(N) end);
run("ask-actor", N) -> timed(fun() -> ask(N) end);
run("spawn-stop", N) -> timed(fun() -> spawn_stop(N) end);
run("ring", N) -> timed(fun() -> ring(100, N) end);
run("fork-create", N) -> timed(fun() -> fork_create(N) end);
run("fork-throughput", N) -> timed(fun() -> fork_throughput(60, N div 60) end);
run("chameneos", N) -> timed(fun() -> chameneos(100, N) end);
run("big", N) -> timed(fun() -> big(120, N div 120) end);
run("dictionary", N) -> timed(fun() -> dictionary(20, N div 20) end);
run("philosophers", N) -> timed(fun() -> philosophers(20, N div 20) end);
run("bank", N) -> bank(1000, N);
run("tree", N) -> timed(fun() -> tree(N) end);
run("skynet", N) -> timed(fun() -> skynet(N) end);
run("whereis", N) -> look_up(N);
run("restart", N) -> restart(N);
run("idle", N) -> idle(N).

timed(F) ->
    Start = erlang:monotonic_time(nanosecond),
    F(),
    [erlang:monotonic_time(nanosecond) - Start].

%% --- two processes ---

ping_pong(N) ->
    Pong = spawn(fun pong/0),
    Me = self(),
    spawn(fun() -> Me ! {answers, ping(Pong, N, 0)}, Pong ! stop end),
    receive {answers, N} -> ok end.

ping(_, 0, Answers) -> Answers;
ping(Pong, N, Answers) ->
    Pong ! {ping, self()},
    receive pong -> ping(Pong, N - 1, Answers + 1) end.

pong() ->
    receive
        {ping, From} -> From ! pong, pong();
        stop -> ok
    end.

counting(N) ->
    Counter = spawn(fun() -> counter(0) end),
    Me = self(),
    spawn(fun() ->
        increment(Counter, N),
        Counter ! {sum, self()},
        receive {sum, Sum} -> Me ! {sum, Sum} end
    end),
    receive {sum, N} -> ok end,
    exit(Counter, kill).

increment(_, 0) -> ok;
increment(Counter, N) -> Counter ! increment, increment(Counter, N - 1).

counter(Sum) ->
    receive
        increment -> counter(Sum + 1);
        {sum, From} -> From ! {sum, Sum}, counter(Sum)
    end.

tell(N) ->
    Listener = spawn(fun() -> listener(0) end),
    Me = self(),
    spawn(fun() -> Me ! {heard, teller(Listener, N, 0)} end),
    receive {heard, N} -> ok end,
    exit(Listener, kill).

teller(_, 0, Heard) -> Heard;
teller(Listener, Left, _) ->
    Now = min(Left, 1000),
    told(Listener, Now),
    receive {heard, Heard} -> teller(Listener, Left - Now, Heard) end.

told(Listener, 1) -> Listener ! {told, 1, self()};
told(Listener, N) -> Listener ! {told, 1, none}, told(Listener, N - 1).

listener(Sum) ->
    receive
        {told, Number, none} -> listener(Sum + Number);
        {told, Number, From} -> From ! {heard, Sum + Number}, listener(Sum + Number)
    end.

ask(N) ->
    Doubler = spawn(fun doubler/0),
    Me = self(),
    %% A process that asks is both outside and an actor here.
    spawn(fun() -> Me ! {sum, ask(Doubler, N, 0)} end),
    Expected = N * (N - 1),
    receive {sum, Expected} -> ok end,
    exit(Doubler, kill).

ask(_, 0, Sum) -> Sum;
ask(Doubler, N, Sum) -> ask(Doubler, N - 1, Sum + call(Doubler, N - 1)).

%% What gen_server:call does, without its layers.
call(To, Request) ->
    Reference = monitor(process, To, [{alias, reply_demonitor}]),
    To ! {call, Reference, Request},
    receive
        {Reference, Answer} -> Answer;
        {'DOWN', Reference, process, _, Reason} -> exit(Reason)
    after 600000 -> exit(timeout)
    end.

reply(Reference, Answer) -> Reference ! {Reference, Answer}.

doubler() ->
    receive {call, Reference, Number} -> reply(Reference, 2 * Number), doubler() end.

spawn_stop(0) -> ok;
spawn_stop(N) ->
    Me = self(),
    Child = spawn(fun() -> receive stop -> Me ! ended end end),
    Child ! stop,
    receive ended -> spawn_stop(N - 1) end.

%% --- many ---

ring(Actors, Hops) ->
    Me = self(),
    First = spawn(fun() -> receive {next, Next} -> member(0, Next, Me) end end),
    Last = lists:foldl(
        fun(Number, Next) -> spawn(fun() -> member(Number, Next, Me) end) end,
        First, lists:seq(Actors - 1, 1, -1)),
    First ! {next, Last},
    First ! Hops,
    Expected = Hops rem Actors,
    receive {last, Expected} -> ok end,
    Last ! stop.

member(Number, Next, Main) ->
    receive
        0 -> Main ! {last, Number}, member(Number, Next, Main);
        Hops when is_integer(Hops) -> Next ! Hops - 1, member(Number, Next, Main);
        stop -> Next ! stop
    end.

work(Seed) ->
    Sine = math:sin(Seed),
    Sine * Sine.

fork_create(N) ->
    Me = self(),
    fork(Me, N),
    await(ended, N).

fork(_, 0) -> ok;
fork(Me, N) ->
    Actor = spawn(fun() -> receive Seed -> work(Seed), Me ! ended end end),
    Actor ! 37.2,
    fork(Me, N - 1).

await(_, 0) -> ok;
await(What, N) -> receive What -> await(What, N - 1) end.

fork_throughput(Actors, Each) ->
    Me = self(),
    Workers = [spawn(fun() -> worker(Each, Me) end) || _ <- lists:seq(1, Actors)],
    rounds(Workers, Each),
    await(done, Actors).

rounds(_, 0) -> ok;
rounds(Workers, N) -> [Worker ! 37.2 || Worker <- Workers], rounds(Workers, N - 1).

worker(0, Main) -> Main ! done;
worker(Left, Main) -> receive Seed -> work(Seed), worker(Left - 1, Main) end.

chameneos(Creatures, Meetings) ->
    Me = self(),
    Mall = spawn(fun() -> mall(Meetings, none) end),
    [spawn(fun() -> meet(Mall, lists:nth(Number rem 3 + 1, [red, blue, yellow]), 0, Me) end)
        || Number <- lists:seq(0, Creatures - 1)],
    Sum = lists:sum([receive {met, Met} -> Met end || _ <- lists:seq(1, Creatures)]),
    Sum = 2 * Meetings,
    exit(Mall, kill).

mall(Meetings, Waiting) ->
    receive
        {meet, _, Who} when Meetings == 0 -> Who ! closed, mall(0, Waiting);
        {meet, _, Who} when Waiting == none -> mall(Meetings, Who);
        {meet, Colour, Who} -> Waiting ! {met, Colour, Who}, mall(Meetings - 1, none)
    end.

meet(Mall, Colour, Meetings, Main) ->
    Mall ! {meet, Colour, self()},
    receive
        {met, Other, Who} ->
            Changed = complement(Colour, Other),
            Who ! {change, Changed},
            meet(Mall, Changed, Meetings + 1, Main);
        {change, Changed} -> meet(Mall, Changed, Meetings + 1, Main);
        closed -> Main ! {met, Meetings}
    end.

complement(Same, Same) -> Same;
complement(red, blue) -> yellow;
complement(blue, red) -> yellow;
complement(red, yellow) -> blue;
complement(yellow, red) -> blue;
complement(_, _) -> red.

big(Actors, Pings) ->
    Me = self(),
    Members = [spawn(fun() -> big_member(Number, Pings, Me) end) || Number <- lists:seq(1, Actors)],
    All = list_to_tuple(Members),
    [Member ! {all, All} || Member <- Members],
    await(done, Actors),
    [exit(Member, kill) || Member <- Members].

big_member(Number, Pings, Main) ->
    receive {all, All} -> big_ping(Number, All, dice(Number), Pings, Main) end.

big_ping(Number, All, _, 0, Main) ->
    Main ! done,
    big_serve(Number, All);
big_ping(Number, All, Dice, Left, Main) ->
    {At, Next} = below(size(All), Dice),
    element(At + 1, All) ! {ping, Number},
    big_wait(Number, All, Next, At + 1, Left, Main).

big_wait(Number, All, Dice, Target, Left, Main) ->
    receive
        {ping, From} -> element(From, All) ! {pong, Number}, big_wait(Number, All, Dice, Target, Left, Main);
        {pong, From} -> From = Target, big_ping(Number, All, Dice, Left - 1, Main)
    end.

big_serve(Number, All) ->
    receive {ping, From} -> element(From, All) ! {pong, Number}, big_serve(Number, All) end.

dictionary(Workers, Questions) ->
    Me = self(),
    Dictionary = spawn(fun() -> dictionary(#{}) end),
    [spawn(fun() -> asks(Dictionary, dice(Number), Questions, Me) end) || Number <- lists:seq(1, Workers)],
    await(done, Workers),
    exit(Dictionary, kill).

dictionary(Map) ->
    receive
        {write, Key, Value, From} -> From ! {value, Value}, dictionary(Map#{Key => Value});
        {read, Key, From} -> From ! {value, maps:get(Key, Map, none)}, dictionary(Map)
    end.

asks(_, _, 0, Main) -> Main ! done;
asks(Dictionary, Dice, Left, Main) ->
    {Key, Dice1} = below(512, Dice),
    {Percent, Dice2} = below(100, Dice1),
    case Percent < 10 of
        true -> Dictionary ! {write, Key, Key, self()};
        false -> Dictionary ! {read, Key, self()}
    end,
    receive {value, _} -> asks(Dictionary, Dice2, Left - 1, Main) end.

philosophers(Count, Rounds) ->
    Me = self(),
    Forks = maps:from_keys(lists:seq(0, Count - 1), free),
    Arbitrator = spawn(fun() -> arbitrator(Count, Forks) end),
    [spawn(fun() -> hungry(Arbitrator, Number, Rounds, Me) end) || Number <- lists:seq(0, Count - 1)],
    await(done, Count),
    exit(Arbitrator, kill).

arbitrator(Count, Forks) ->
    receive
        {hungry, Left, Who} ->
            Right = (Left + 1) rem Count,
            case Forks of
                #{Left := free, Right := free} ->
                    Who ! eat,
                    arbitrator(Count, Forks#{Left := taken, Right := taken});
                _ ->
                    Who ! denied,
                    arbitrator(Count, Forks)
            end;
        {done, Left} -> arbitrator(Count, Forks#{Left := free, (Left + 1) rem Count := free})
    end.

hungry(_, _, 0, Main) -> Main ! done;
hungry(Arbitrator, Number, Left, Main) ->
    Arbitrator ! {hungry, Number, self()},
    receive
        eat -> Arbitrator ! {done, Number}, hungry(Arbitrator, Number, Left - 1, Main);
        denied -> hungry(Arbitrator, Number, Left, Main)
    end.

bank(Accounts, Transfers) ->
    Me = self(),
    Pids = [spawn(fun() -> account(1000000) end) || _ <- lists:seq(1, Accounts)],
    All = list_to_tuple(Pids),
    Time = timed(fun() ->
        orders(All, Accounts, dice(Transfers), Transfers, Me),
        await(done, Transfers)
    end),
    Total = lists:sum([call(Account, balance) || Account <- Pids]),
    Total = Accounts * 1000000,
    [exit(Account, kill) || Account <- Pids],
    Time.

orders(_, _, _, 0, _) -> ok;
orders(All, Accounts, Dice, Left, Me) ->
    {From, Dice1} = below(Accounts div 10 * 8, Dice),
    {Further, Dice2} = below(Accounts - From - 1, Dice1),
    {Cents, Dice3} = below(1000, Dice2),
    element(From + 1, All) ! {transfer, Cents, element(From + 1 + Further + 1, All), Me},
    orders(All, Accounts, Dice3, Left - 1, Me).

account(Balance) ->
    receive
        {transfer, Cents, To, Teller} ->
            ok = call(To, {deposit, Cents}),
            Teller ! done,
            account(Balance - Cents);
        {call, Reference, {deposit, Cents}} -> reply(Reference, ok), account(Balance + Cents);
        {call, Reference, balance} -> reply(Reference, Balance), account(Balance)
    end.

%% --- trees ---

tree(Max) ->
    Me = self(),
    Top = spawn(fun() -> node_grows(Me, Me, dice(0)) end),
    Nodes = root(Top, Max, 1, 1, dice(Max)),
    true = Nodes =< Max andalso Nodes + 10 > Max.

root(Top, Max, Nodes, Expected, Dice) ->
    receive
        {may_grow, Node} ->
            {Yes, Next} = below(2, Dice),
            Left = Expected - 1,
            if
                Nodes + 10 =< Max, (Left == 0 orelse Yes == 0) ->
                    Node ! {children, Nodes},
                    root(Top, Max, Nodes + 10, Left + 10, Next);
                Left == 0 ->
                    {Percent, _} = below(100, Next),
                    Top ! {traverse, Percent < 50},
                    receive {traversed, Nodes} -> Nodes end;
                true -> root(Top, Max, Nodes, Left, Next)
            end
    end.

node_grows(Root, Parent, Dice) ->
    Next = node_work(Dice),
    Root ! {may_grow, self()},
    tree_node(Root, Parent, Next, []).

node_work(Dice) ->
    {More, Next} = below(200, Dice),
    spin(400 + More),
    Next.

spin(0) -> ok;
spin(N) -> spin(N - 1).

tree_node(Root, Parent, Dice, Children) ->
    receive
        {children, Seed} ->
            Me = self(),
            New = [spawn(fun() -> node_grows(Root, Me, dice(Seed + Number)) end) || Number <- lists:seq(0, 9)],
            tree_node(Root, Parent, Dice, New);
        {traverse, Urgent} ->
            Next = node_work(Dice),
            lists:foldl(
                fun(Child, D) ->
                    {Percent, D1} = below(100, D),
                    Child ! {traverse, Urgent orelse Percent < 50},
                    D1
                end, Next, Children),
            Nodes = lists:sum([receive {traversed, Below} -> Below end || _ <- Children]),
            Parent ! {traversed, Nodes + 1}
    end.

skynet(Leaves) ->
    Me = self(),
    spawn(fun() -> skynet(Me, 0, Leaves) end),
    Expected = Leaves * (Leaves - 1) div 2,
    receive {sum, Expected} -> ok end.

skynet(Parent, First, 1) -> Parent ! {sum, First};
skynet(Parent, First, Leaves) ->
    Me = self(),
    Each = Leaves div 10,
    [spawn(fun() -> skynet(Me, First + Child * Each, Each) end) || Child <- lists:seq(0, 9)],
    Parent ! {sum, skynet_sum(10, 0)}.

skynet_sum(0, Sum) -> Sum;
skynet_sum(N, Sum) -> receive {sum, Part} -> skynet_sum(N - 1, Sum + Part) end.

%% --- names ---

%% A process for each scheduler looks names up. They are atoms, made once.
look_up(N) ->
    Names = [list_to_atom("actor " ++ integer_to_list(Number)) || Number <- lists:seq(1, 1000)],
    Actors = [begin Actor = spawn(fun() -> receive stop -> ok end end), register(Name, Actor), Actor end
        || Name <- Names],
    Lookers = erlang:system_info(schedulers_online),
    Me = self(),
    Time = timed(fun() ->
        [spawn_link(fun() -> look_up(Names, Names, N div Lookers), Me ! looked end) || _ <- lists:seq(1, Lookers)],
        await(looked, Lookers)
    end),
    [unregister(Name) || Name <- Names],
    [Actor ! stop || Actor <- Actors],
    Time.

look_up(_, _, 0) -> ok;
look_up([], Names, N) -> look_up(Names, Names, N);
look_up([Name | Rest], Names, N) ->
    true = is_pid(whereis(Name)),
    look_up(Rest, Names, N - 1).

%% --- idle, and restarted ---

idle(N) ->
    erlang:garbage_collect(),
    Before = resident_bytes(),
    Me = self(),
    Start = erlang:monotonic_time(nanosecond),
    Actors = [spawn(fun() -> Me ! started, receive stop -> ok end end) || _ <- lists:seq(1, N)],
    await(started, N),
    Time = erlang:monotonic_time(nanosecond) - Start,
    erlang:garbage_collect(),
    Bytes = resident_bytes() - Before,
    [Actor ! stop || Actor <- Actors],
    [Time, max(Bytes, 0)].

resident_bytes() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    Kilobytes = fun(Name) ->
        {match, [Value]} = re:run(Status, Name ++ ":\\s*([0-9]+) kB", [{capture, all_but_first, list}]),
        list_to_integer(Value)
    end,
    (Kilobytes("VmRSS") + Kilobytes("VmPTE")) * 1024.

%% A thousand children for each supervisor: it goes through all its earlier restarts for each one.
restart(N) ->
    Supervisors = [begin {ok, Supervisor} = supervisor:start_link(?MODULE, self()), Supervisor end
        || _ <- lists:seq(1, (N + 999) div 1000)],
    Children = [start_one(lists:nth((Number - 1) div 1000 + 1, Supervisors)) || Number <- lists:seq(1, N)],
    await(started, N),
    Time = timed(fun() ->
        [Child ! crash || Child <- Children],
        await(started, N)
    end),
    [begin unlink(Supervisor), exit(Supervisor, kill) end || Supervisor <- Supervisors],
    Time.

start_one(Supervisor) -> {ok, Child} = supervisor:start_child(Supervisor, []), Child.

init(Main) ->
    Child = #{id => child, start => {?MODULE, start_child, [Main]}, restart => permanent, shutdown => brutal_kill},
    {ok, {#{strategy => simple_one_for_one, intensity => 1000000000, period => 600}, [Child]}}.

start_child(Main) ->
    {ok, spawn_link(fun() -> Main ! started, receive crash -> exit(crash) end end)}.

%% --- random numbers: SplitMix64 would make numbers that are too large to be cheap here ---

dice(Seed) -> (Seed * 2654435761 + 12345) band 16#7fffffff.

below(Limit, Dice) ->
    Next = (Dice * 1103515245 + 12345) band 16#7fffffff,
    {(Next bsr 8) rem Limit, Next}.
