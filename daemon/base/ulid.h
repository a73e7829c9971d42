/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * IDs that sort by time: 26 characters of Crockford's base 32, 48 bits of milliseconds and 80 random bits
 * (github.com/ulid/spec). Within one process each is greater than the one before, also when the clock
 * steps back. Any thread.
 */
#pragma once

#include <glib.h>

/* (transfer full) */
char *bk_ulid_new (void);
