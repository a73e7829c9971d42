/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Processes that are not our children.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* A zombie has ended, too: its parent may take its time. */
bool bk_pid_has_ended (pid_t pid);

/* Whether it runs @program with @argument among its arguments. */
bool bk_pid_is (pid_t pid, const char *program, const char *argument);

/* Whether it is known to run as a user other than we do. */
bool bk_pid_is_of_other_user (pid_t pid);

/* What tells the QEMU @pid from any process that bears its number later: "PID START"; NULL when it is none, or has ended. (transfer full) */
char *bk_pid_identity (pid_t pid);
/* Whether the process that @identity was made of still runs. */
bool bk_pid_still_runs (const char *identity);

/* The process that runs @program (by the last part of its path) with @argument among its arguments, or 0. */
pid_t bk_pid_find (const char *program, const char *argument);
