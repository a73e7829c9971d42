/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Ctrl-C while something is waited for: what was begun goes on in the daemon, and the user is told so.
 */
#pragma once

#include <glib.h>

/* From now on Ctrl-C prints this line on stderr and ends the program with status 130. */
void bk_interrupt_say (const char *format, ...) G_GNUC_PRINTF (1, 2);
