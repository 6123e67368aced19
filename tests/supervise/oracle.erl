%% Runs programs of supervision on OTP's own supervisor: one Erlang term a line in, one log a line out.
%%
%% Tree:   {sup, Name, Strategy, Intensity, Period, Restart, [Tree]} | {worker, Name, Restart, FailingStarts}
%% Script: [{kill, Name} | {finish, Name} | {stop, Sup, Name} | {restart, Sup, Name} | {delete, Sup, Name}]
-module(oracle).
-export([main/0, start_sup/1, init/1, start_worker/1, worker_init/2]).
-behaviour(supervisor).

main() ->
    logger:set_primary_config(level, none),
    process_flag(trap_exit, true),
    ets:new(log, [named_table, public, ordered_set]),
    ets:new(starts, [named_table, public]),
    ets:new(pids, [named_table, public]),
    put(others, erlang:processes()),
    lines().

lines() ->
    case io:get_line("") of
        eof -> halt(0);
        Line ->
            {ok, Tokens, _} = erl_scan:string(Line),
            {ok, {Tree, Script}} = erl_parse:parse_term(Tokens),
            io:format("~s~n", [run(Tree, Script)]),
            lines()
    end.

run(Tree, Script) ->
    [ets:delete_all_objects(T) || T <- [log, starts, pids]],
    case start_sup(Tree) of
        {ok, Top} ->
            settle(),
            lists:foreach(fun(Step) -> step(Step), settle() end, Script),
            case is_process_alive(Top) of
                true -> exit(Top, shutdown), receive {'EXIT', Top, _} -> ok end, log("end");
                false -> log("down")
            end;
        {error, _} -> log("failed")
    end,
    flush(),
    lists:join(" ", [Text || {_, Text} <- ets:tab2list(log)]).

flush() -> receive {'EXIT', _, _} -> flush() after 0 -> ok end.

log(Text) -> ets:insert(log, {erlang:unique_integer([monotonic]), Text}).
log(Mark, Name) -> log([Mark, atom_to_list(Name)]).

step({kill, Name}) -> tell(Name, crash);
step({finish, Name}) -> tell(Name, finish);
step({stop, Sup, Name}) -> ask("stop ", Name, Sup, fun supervisor:terminate_child/2);
step({restart, Sup, Name}) -> ask("restart ", Name, Sup, fun supervisor:restart_child/2);
step({delete, Sup, Name}) -> ask("delete ", Name, Sup, fun supervisor:delete_child/2).

tell(Name, Message) ->
    case alive(Name) of
        {ok, Pid} ->
            Monitor = erlang:monitor(process, Pid),
            Pid ! Message,
            receive {'DOWN', Monitor, _, _, _} -> ok end;
        none -> log("none ", Name)
    end.

ask(Verb, Name, Sup, Call) ->
    case alive(Sup) of
        {ok, Pid} ->
            Answer = case catch Call(Pid, Name) of
                ok -> "ok";
                {ok, _} -> "ok";
                {error, Reason} when is_atom(Reason) -> atom_to_list(Reason);
                {error, _} -> "failed";
                {'EXIT', _} -> "gone"
            end,
            log([Verb, atom_to_list(Name), "=", Answer]);
        none -> log([Verb, atom_to_list(Name), "=nobody"])
    end.

alive(Name) ->
    case ets:lookup(pids, Name) of
        [{Name, Pid}] -> case is_process_alive(Pid) of true -> {ok, Pid}; false -> none end;
        [] -> none
    end.

%% nothing happens any more: every process waits with an empty mailbox, several times in a row
settle() -> settle(ets:info(log, size), 0).
settle(_, 8) -> ok;
settle(Size, Calm) ->
    %% those that are just being started are in no table yet: look at every process there is
    Quiet = lists:all(fun quiet/1, erlang:processes() -- [self() | get(others)]),
    erlang:yield(),
    case {Quiet, ets:info(log, size)} of
        {true, Size} -> settle(Size, Calm + 1);
        {_, Other} -> settle(Other, 0)
    end.

quiet(Pid) ->
    case process_info(Pid, [message_queue_len, status]) of
        [{message_queue_len, 0}, {status, waiting}] -> true;
        undefined -> true;
        _ -> false
    end.

start_sup({sup, Name, _, _, _, _, _} = Tree) ->
    case supervisor:start_link(?MODULE, Tree) of
        {ok, Pid} -> ets:insert(pids, {Name, Pid}), {ok, Pid};
        Other -> Other
    end.

init({sup, Name, Strategy, Intensity, Period, _, Children}) ->
    ets:insert(pids, {Name, self()}),
    Flags = #{strategy => Strategy, intensity => Intensity, period => Period},
    {ok, {Flags, [spec(Child) || Child <- Children]}}.

spec({worker, Name, Restart, _} = Worker) ->
    #{id => Name, start => {?MODULE, start_worker, [Worker]}, restart => Restart, shutdown => 5000};
spec({sup, Name, _, _, _, Restart, _} = Tree) ->
    #{id => Name, start => {?MODULE, start_sup, [Tree]}, restart => Restart, type => supervisor,
      shutdown => infinity}.

start_worker({worker, Name, _, Fails}) ->
    proc_lib:start_link(?MODULE, worker_init, [Name, Fails]).

worker_init(Name, Fails) ->
    process_flag(trap_exit, true),
    Number = ets:update_counter(starts, Name, 1, {Name, -1}),
    case lists:member(Number, Fails) of
        true -> log("x", Name), proc_lib:init_ack({error, failed});
        false ->
            log("+", Name),
            ets:insert(pids, {Name, self()}),
            proc_lib:init_ack({ok, self()}),
            worker(Name)
    end.

worker(Name) ->
    receive
        crash -> log("!", Name), exit(crash);
        finish -> log(".", Name), exit(normal);
        {'EXIT', _, Reason} -> log("-", Name), exit(Reason)
    end.
