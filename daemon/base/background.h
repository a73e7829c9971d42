/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Blocking work off the main thread. The data belongs to the worker while it works, and to the main thread
 * before and after: that is all the locking there is. Threads come from one unbounded pool (a copy may hold
 * one for hours, and must not starve the short ones) and end by themselves when idle.
 */
#pragma once

#include <glib.h>

typedef void (*BkWorkFunc) (gpointer data);

/* Runs @work (@data) in a thread, then @done (@data) on the default main context. Main thread only. */
void bk_background_run (BkWorkFunc work, BkWorkFunc done, gpointer data);

/* Runs @function (@data) on the default main context, and waits until it has. Worker threads only; the main loop must be
 * going round. */
void bk_main_call (BkWorkFunc function, gpointer data);
