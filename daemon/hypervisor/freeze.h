/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Freezing the file systems of a guest so that they are thawed whatever becomes of us.
 *
 * It is the thaw guard that speaks to the agent, a small process of its own (daemon/guard): started before the freeze,
 * freezing on our word, and thawing on our word, at the end of the pipe that leads to us, at its deadline, or when it is
 * told to end, whichever comes first. It tries until the agent itself says "thawed". So there is no moment in which a
 * frozen guest depends on the daemon: killed, it closes the pipe; hung, it misses the deadline. If the guard dies, we
 * thaw by another one; if both die, the next daemon does, for the run is written down first (run.h: may_be_frozen).
 *
 * Worker threads; everything is bounded.
 */
#pragma once

#include "bk-types.h"

typedef struct BkFreeze BkFreeze;

/* Starts the guard, and waits until the agent behind @address (agent.h) has answered it. @mounts: NULL or empty = all file
 * systems. @limit_ms: how long they stay frozen at most. UNREACHABLE: no agent answers; CONFLICT: the guest is frozen
 * already, by somebody else; FAILED: no guard. */
BkFreeze *bk_freeze_new (const char *address, const char *const *mounts, unsigned limit_ms, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* After TRUE the guest is frozen, and the time runs. After FALSE bk_freeze_end() is called all the same. FAILED: the guest
 * cannot; UNREACHABLE: it does not answer any more; CANCELLED. */
gboolean bk_freeze_begin (BkFreeze *freeze, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Thaws, and fills in what is known then: quiesced when the guest was frozen all the time since bk_freeze_begin(), else
 * reason; thawed when that is proven. */
void bk_freeze_end (BkFreeze *freeze, BkQuiesceInfo *info);
/* What is still frozen gets thawed, but nobody waits for it. NULL is allowed. */
void bk_freeze_free (BkFreeze *freeze);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkFreeze, bk_freeze_free)

/* For a guest that an earlier daemon may have left frozen: TRUE when the agent has said that it is thawed. Else UNREACHABLE
 * or FAILED, after 15 s; a guard goes on trying for some minutes. */
gboolean bk_freeze_thaw_left (const char *address, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Path of the thaw guard, whether there is one or not; (transfer full). */
char *bk_freeze_find_guard (void);
