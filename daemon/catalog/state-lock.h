/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The state directory, and the lock that makes it ours: flock on STATE/lock, which holds our process ID as text.
 * The kernel gives it back when the process ends, however it ends; the file stays.
 */
#pragma once

#include "bk-error.h"

/* Makes @state_dir (0700) when it is missing and locks it. Returns a descriptor whose close gives the lock back,
 * or -1: CONFLICT naming the process that holds it, DENIED, NO_SPACE, INVALID (not a folder), FAILED. */
int bk_state_lock (const char *state_dir, GError **error) G_GNUC_WARN_UNUSED_RESULT;
