/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For what blocks a worker thread while the main thread moves the bytes: the test plays both.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Runs @function in a thread of its own, and the default main context in the caller's until it has returned.
 * Assertions may be made in the thread: Check ends the test's process. */
void bk_worker_run (void (*function) (gpointer data), gpointer data);

/* Several at once: start them, then wait for all. */
typedef struct BkWorker BkWorker;
BkWorker *bk_worker_start (void (*function) (gpointer data), gpointer data);
/* Iterates the default main context until @worker has returned; frees it. */
void bk_worker_wait (BkWorker *worker);

/* Iterates the default main context until @condition holds; false when that takes longer than @timeout_ms. */
bool bk_main_until (bool (*condition) (gpointer data), gpointer data, unsigned timeout_ms);
