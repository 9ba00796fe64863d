/*
 * Commit and recovery over the decision log on files: one transaction T with two branches, processes
 * that die and start again on the same log, a page cache that a host crash loses, segments that roll.
 * Every line of World is one step; any of them that is enabled may come next.
 *
 *   p[i]      the branch in database i: ACTive, PREPared, COMmitted, ABOrted
 *   sent      its PREPARE is on the way: it is carried out whenever the server likes, also after its
 *             sender died (a late PREPARE)
 *   c[s] d[s] the commit record in segment s: in the page cache, on the disk; e[s] de[s]: its end
 *   clean     a sync of segment 0 failed: Linux calls its pages clean, and the next sync writes nothing
 *   top dtop  the highest segment by name: as the kernel knows it, and on the disk
 *   up1 up2   the first process runs, and with it T; a later one runs, which opened the log
 *   known     it holds the commit for durable
 *
 * Safe without a flag. Each flag is a mutant, a rule left out, that main.ts expects to be caught.
 */
#define KILLS 3
#define MAXSEG 7

mtype = { NONE, ACT, PREP, COM, ABO };
/* Where T is in its process. */
mtype = { IDLE, BEGUN, VOTING, HANDED, WRITTEN, FAILED, DECIDED, LEAVING, OVER };

mtype p[2];
mtype client = NONE;
bit sent, voted[2];

bit c[MAXSEG], d[MAXSEG], e[MAXSEG], de[MAXSEG];
bit clean, eio;
byte top, dtop;

bit up1, up2, known1, known2;
byte kills;
bit crashed;

mtype t = IDLE;
bit live, aborted, busy;
/* Recovery beside T: how far a look at branch q has come, and what it saw. */
byte look; bit q, sawLive, sawCommit;
/* How far the roll of process 1, the opening of process 2, and a second process beside the first. */
byte roll, opening;
/* Process 2 has stopped to look: the mutant of rule 6. */
bit asleep;

#define MIXED ((p[0] == COM && p[1] == ABO) || (p[0] == ABO && p[1] == COM))
#define LIED_COMMIT (client == COM && (p[0] == ABO || p[1] == ABO))
#define LIED_ABORT (client == ABO && (p[0] == COM || p[1] == COM))
#define CHECK assert(!(MIXED || LIED_COMMIT || LIED_ABORT))

inline sync(s) { if :: !(clean && s == 0) -> d[s] = c[s]; de[s] = e[s] :: else fi }
inline recycle(s) { c[s] = 0; d[s] = 0; e[s] = 0; de[s] = 0 }

/* The word may be lost on its way, and then recovery says it again. */
inline commit(i) { if :: p[i] == PREP -> p[i] = COM :: true fi; CHECK }
/* An active branch of a session that ended falls, but for a PREPARE on its way. */
inline rollback(i) {
  if :: p[i] == PREP -> p[i] = ABO :: p[i] == ACT && !sent -> p[i] = ABO :: true fi; CHECK
}

/* Everything that process 1 had in its memory. */
inline die1() {
  up1 = 0; live = 0; busy = 0; known1 = 0; roll = 0; look = 0; q = 0; sawLive = 0; sawCommit = 0;
  t = OVER
}

/* What was not synced may be on the disk all the same, or not. */
inline host_crash() {
  if :: top != dtop -> if :: dtop = top :: top = dtop fi :: else fi;
  s = 0;
  do
  :: s < MAXSEG ->
     if :: c[s] != d[s] -> if :: d[s] = c[s] :: c[s] = d[s] fi :: else fi;
     if :: e[s] != de[s] -> if :: de[s] = e[s] :: e[s] = de[s] fi :: else fi;
     s++
  :: s == MAXSEG -> s = 0; break
  od;
  clean = 0
}

#ifdef END_AFTER_FIRST
#define ANSWERED (p[0] == COM || p[1] == COM)
#else
#define ANSWERED (p[0] == COM && p[1] == COM)
#endif
#ifdef CHECKPOINT_FORGETS
#define CARRIES 0
#else
#define CARRIES 1
#endif
#ifdef NO_LIVE_SET
#define NO_LIVE 1
#else
#define NO_LIVE 0
#endif
/* At which step of a look the branches are listed: first, by rule 5. */
#define LIST(i) (look == LISTS && p[i] == PREP)
#ifdef DECISIONS_FIRST
#define LISTS 1
#else
#ifdef LIVE_SET_FIRST
#define LISTS 1
#else
#define LISTS 0
#endif
#endif

active proctype World() {
  byte s;
  atomic { p[0] = ACT; p[1] = ACT; up1 = 1 };
  do
  /* The servers: a PREPARE that has arrived, or the end of what was not prepared. */
  :: atomic { p[0] == ACT && sent -> p[0] = PREP; if :: up1 -> voted[0] = 1 :: true fi }
  :: atomic { p[1] == ACT && sent -> p[1] = PREP; if :: up1 -> voted[1] = 1 :: true fi }
  :: atomic { p[0] == ACT -> p[0] = ABO; CHECK }
  :: atomic { p[1] == ACT -> p[1] = ABO; CHECK }

  /* T in process 1. It joins the live set before its first prepare. */
#ifdef LIVE_LATE
  :: atomic { up1 && t == IDLE -> sent = 1; t = BEGUN }
  :: atomic { up1 && t == BEGUN -> live = 1; t = VOTING }
#else
  :: atomic { up1 && t == IDLE -> live = 1; t = BEGUN }
  :: atomic { up1 && t == BEGUN -> sent = 1; t = VOTING }
#endif
#ifdef LOST_VOTE_IS_YES
  :: atomic { up1 && t == VOTING && !aborted && !busy -> busy = 1; t = HANDED }
#else
  :: atomic { up1 && t == VOTING && !aborted && !busy && voted[0] && voted[1] -> busy = 1; t = HANDED }
#endif
  /* A refusal, a lost vote, a deadline, an operator: abort is decided in the register first. */
#ifdef DEADLINE_TURNS_BACK
  :: atomic { up1 && live && !aborted -> aborted = 1; rollback(0); rollback(1) }
#endif
  :: atomic { up1 && t == VOTING -> aborted = 1; client = ABO; rollback(0); rollback(1); t = LEAVING }
#ifdef ACK_OF_NEXT_BATCH
  /* The batch before is durable: whoever waits is answered, also who came too late for it. */
  :: atomic { up1 && t == HANDED -> known1 = 1; busy = 0; t = DECIDED }
#endif
  :: atomic { up1 && t == HANDED -> c[top] = 1; t = WRITTEN }
#ifdef ACT_BEFORE_SYNC
  :: atomic { up1 && t == WRITTEN -> known1 = 1; busy = 0; t = DECIDED }
#else
  :: atomic { up1 && t == WRITTEN -> sync(top); known1 = 1; busy = 0; t = DECIDED }
  :: atomic { up1 && t == WRITTEN && !eio -> eio = 1; clean = (top == 0); t = FAILED }
#endif
  :: atomic { up1 && t == DECIDED -> client = COM; commit(0); commit(1); t = LEAVING }
  :: atomic { up1 && t == LEAVING -> live = 0; t = OVER }
  /* A force that failed: in doubt, no branch is touched, and only a new process may go on. */
#ifdef SYNC_AGAIN
  :: atomic { up1 && t == FAILED -> sync(top); known1 = 1; busy = 0; t = DECIDED }
#else
#ifdef FAILED_FORCE_IS_ABORT
  :: atomic { up1 && t == FAILED -> busy = 0; client = ABO; rollback(0); rollback(1); t = LEAVING }
#else
  :: atomic { up1 && t == FAILED -> die1() }
#endif
#endif

  /* Recovery beside T, for ever: list, live set, decisions, in this order. */
#ifdef DECISIONS_FIRST
  :: atomic { up1 && look == 0 -> sawCommit = known1; look = 1 }
#endif
#ifdef LIVE_SET_FIRST
  :: atomic { up1 && look == 0 -> sawLive = live; look = 1 }
#endif
  :: atomic { up1 && LIST(0) -> q = 0; look = LISTS + 1 }
  :: atomic { up1 && LIST(1) -> q = 1; look = LISTS + 1 }
#ifdef DECISIONS_FIRST
  :: atomic { up1 && look == 2 -> sawLive = live; look = 3 }
#else
#ifdef LIVE_SET_FIRST
  :: atomic { up1 && look == 2 -> sawCommit = known1; look = 3 }
#else
  :: atomic { up1 && look == 1 -> sawLive = live; look = 2 }
  :: atomic { up1 && look == 2 -> sawCommit = known1; look = 3 }
#endif
#endif
  :: atomic { up1 && look == 3 ->
       if
#ifndef NO_LIVE_SET
       :: sawLive
#endif
       :: (!sawLive || NO_LIVE) && sawCommit -> if :: q -> commit(1) :: else -> commit(0) fi
       :: (!sawLive || NO_LIVE) && !sawCommit -> if :: q -> rollback(1) :: else -> rollback(0) fi
       fi;
       look = 0; q = 0; sawLive = 0; sawCommit = 0 }

  /* A later process: nothing of before lives in it, and what it knows came from the log. */
  :: atomic { up2 && opening == 5 && !asleep && p[0] == PREP ->
       if :: known2 -> commit(0) :: else -> rollback(0) fi }
  :: atomic { up2 && opening == 5 && !asleep && p[1] == PREP ->
       if :: known2 -> commit(1) :: else -> rollback(1) fi }
#ifdef ONE_PASS
  :: atomic { up2 && opening == 5 && !asleep && p[0] != PREP && p[1] != PREP -> asleep = 1 }
#endif

  /* A decision is forgotten once every branch has answered; its end rides on some later force. */
  :: atomic { up1 && known1 && !busy && ANSWERED -> e[top] = 1; known1 = 0; if :: sync(top) :: true fi }
  :: atomic { up2 && known2 && ANSWERED -> e[top] = 1; known2 = 0; if :: sync(top) :: true fi }

  /* The log of process 1 moves to its next segment, between two batches. */
  :: atomic { up1 && roll == 0 && top == 0 && !busy -> busy = 1; c[1] = (known1 && CARRIES); roll = 1 }
#ifdef CHECKPOINT_NOT_SYNCED
  :: atomic { up1 && roll == 1 -> roll = 2 }
#else
  :: atomic { up1 && roll == 1 -> sync(1); roll = 2 }
#endif
  :: atomic { up1 && roll == 2 -> top = 1; roll = 3 }
#ifdef RECYCLED_EARLY
  :: atomic { up1 && roll == 3 -> recycle(0); roll = 4 }
  :: atomic { up1 && roll == 4 -> dtop = 1; busy = 0; roll = 5 }
#else
#ifdef DIRECTORY_NOT_SYNCED
  :: atomic { up1 && roll == 3 -> roll = 4 }
#else
  :: atomic { up1 && roll == 3 -> dtop = 1; roll = 4 }
#endif
  :: atomic { up1 && roll == 4 -> recycle(0); busy = 0; roll = 5 }
#endif

  /* A later process opens the log, and makes durable again what it will act on. */
#ifdef NOT_DURABLE_AGAIN
  :: atomic { up2 && opening == 1 -> known2 = (c[top] && !e[top]); opening = 5 }
#else
  :: atomic { up2 && opening == 1 -> c[top + 1] = (c[top] && !e[top]); opening = 2 }
  :: atomic { up2 && opening == 2 -> sync(top + 1); opening = 3 }
  :: atomic { up2 && opening == 3 -> top++; opening = 4 }
  :: atomic { up2 && opening == 4 -> dtop = top; known2 = c[top]; recycle(top - 1); opening = 5 }
#endif

  /* Fate: a process dies, with its host or without; the next one starts. */
  :: atomic { kills < KILLS && (up1 || up2) -> kills++; die1(); up2 = 0; known2 = 0; opening = 0; asleep = 0;
       if :: !crashed -> crashed = 1; host_crash() :: true fi }
#ifdef NO_LOCK
  /* Somebody takes the first process for dead: it only stood still. */
  :: atomic { up1 && !up2 -> up2 = 1; opening = 1 }
#endif
  :: atomic { !up1 && !up2 -> up2 = 1; opening = 1 }

  /* Nothing moves any more: nothing may be prepared. */
  :: timeout -> assert(p[0] != PREP && p[1] != PREP); break
  od
}
