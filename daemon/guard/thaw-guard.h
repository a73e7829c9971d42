/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The thaw guard: freezes a guest, and sees to it that it is thawed, whatever becomes of the daemon.
 *
 *            "freeze"              "thaw", end of the pipe,
 *                                  deadline, SIGTERM
 *   ready -------------> frozen ------------------------------> thawing ---------> thawed
 *     |                    .                                     ^  |  no answer:
 *     | end of the pipe    . an error, no answer in 30 s         |  |  again, up to ten minutes
 *     v                    ......................................'  '---> stuck
 *   (ends)
 *
 * From the moment that the freeze command is sent there is one way out: the agent has said "thawed" to a status query that
 * came after the thaw. It may be the agent's connection that breaks, the VM that is paused, or the agent that is restarted:
 * the guard connects again and goes on. Only one agent command is under way at a time, each with a time-out.
 *
 * What it says: guard-report.h. What goes wrong goes to stderr, too.
 */
#pragma once

#include "agent.h"

typedef struct {
  BkAgent *agent;
  const char *const *mounts; /* NULL or empty = all */
  unsigned limit_ms;         /* frozen at most so long, from the agent's answer on */
  int commands, reports;     /* file descriptors */
  int signals;               /* readable when it is to end; -1 = none */
} BkThawGuard;

/* Both return whether the guest is known not to be frozen because of us. */
bool bk_thaw_guard_freeze (const BkThawGuard *guard);
/* Thaws what somebody has left frozen. */
bool bk_thaw_guard_thaw (const BkThawGuard *guard);
