/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where g_critical(), g_warning(), g_message() and g_debug() of the daemon go: one line each on stderr,
 * "backupd: text", or with a journal at its other end "<4>text", which journald takes for the priority.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Call once, before there are threads. */
void bk_log_init (void);
/* Whether debug lines are written, too. Before there are threads. */
void bk_log_set_verbose (bool verbose);
