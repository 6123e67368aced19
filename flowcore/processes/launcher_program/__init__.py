"""The program that starts child processes for us, and outlives us just long enough to end them.

It runs as `python -I -S launcher_program CHANNEL PARENT MARKER [sweep PID...]`: one thread, standard library
only, nothing else of flowcore. CHANNEL is the number of an open Unix stream socket, PARENT our process id.

Why a process of its own: a child must die with us, also when we are killed with SIGKILL, and so must whatever
the child has started. PR_SET_PDEATHSIG alone covers no grandchildren, and fires when the *thread* that
started the child ends. So here:

- the launcher is a child subreaper (prctl(2)): every orphan below it becomes its child, also one that forked
  twice and called setsid, so "everything below me" is always the whole truth;
- when its channel ends, or its parent's pidfd says that the parent is gone, it kills everything below it,
  reaps until nothing is left (waitpid gives ECHILD), and exits;
- each child is a session of its own, is killed with the launcher (PR_SET_PDEATHSIG; the launcher has one
  thread), and carries `FLOWCORE_PROCESS=MARKER.NUMBER` in its environment, by which stray descendants are
  told apart, and by which the next launcher (`sweep`) finds what a killed one left behind.
"""
