/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A rate limit: a bucket of bytes that fills at so many a second. Several copies may share one. Nothing in here waits. Paused,
 * it gives nothing.
 * Any thread.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct BkRate BkRate;

BkRate *bk_rate_new (uint64_t bytes_per_second); /* 0 = no limit. (transfer full) */
BkRate *bk_rate_ref (BkRate *rate);
void bk_rate_unref (BkRate *rate);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkRate, bk_rate_unref)

/* What was taken before does not weigh on the new speed. */
void bk_rate_set (BkRate *rate, uint64_t bytes_per_second);

void bk_rate_pause (BkRate *rate, bool paused);

/* Takes @bytes at @now (monotonic, microseconds), more than are there when something is: the debt is waited for by the
 * next. 0: taken. Else nothing was, and that many microseconds are to be waited before asking again. */
int64_t bk_rate_take (BkRate *rate, uint64_t bytes, int64_t now);
