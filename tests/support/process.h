/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Neighbour processes of a test. They never outlive it: the kernel kills them when the thread that started
 * them ends, and bk_process_free() does before.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct BkProcess BkProcess;

/* Starts @argv (NULL-terminated, found by PATH), or fails the test. Its output goes where the test's goes. */
BkProcess *bk_process_start (const char *const *argv);

/* Likewise, and waits until it listens on the unix socket @socket_path, up to 20 s. It is not connected to:
 * a QMP monitor serves one client only. */
BkProcess *bk_process_start_listening (const char *const *argv, const char *socket_path);

pid_t bk_process_pid (const BkProcess *process);

/* Sends @signal_number; nothing when the process has been waited for. */
void bk_process_signal (BkProcess *process, int signal_number);

/* Waits for its end. Returns the exit status, or minus the number of the signal that ended it. */
int bk_process_wait (BkProcess *process);

/* Kills and reaps it when that is still to be done. NULL is allowed. */
void bk_process_free (BkProcess *process);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkProcess, bk_process_free)

/* Runs @argv to its end, which must be a success, or fails the test. */
void bk_process_run (const char *const *argv);

/* True when some process listens on the unix socket @path. */
bool bk_socket_is_listening (const char *path);
