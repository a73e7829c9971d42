/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Copies of several disks that go on at once: each in a thread of its own, no more than a few at a time, under one
 * speed limit. One that fails fails alone.
 *
 * One thread, a job's worker, makes it and calls everything but what is marked otherwise.
 */
#pragma once

#include "copy.h"
#include "job.h"

typedef struct BkCopies BkCopies;

/* At most so many at a time; the others wait for one of them to end. */
#define BK_COPIES_AT_ONCE 4

/* @speed: bytes per second for all together, 0 = no limit. */
BkCopies *bk_copies_new (uint64_t speed);
/* Ends what runs, waits for it, and frees all readers and sinks. */
void bk_copies_free (BkCopies *set);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkCopies, bk_copies_free)

/* Begins a copy as soon as there is room for it. @reader, @sink: (transfer full). Returns its number: 0, 1, ... */
unsigned bk_copies_add (BkCopies *set, BkReader *reader, BkSink *sink);

/* Waits up to @timeout_ms for a copy to end. Returns the number of one that has, each once, with *@failure (transfer full)
 * if it failed; or -1. */
int bk_copies_wait (BkCopies *set, unsigned timeout_ms, GError **failure);
/* Some copy has not yet been returned by wait. */
bool bk_copies_is_busy (const BkCopies *set);

/* These take effect within a second. Any thread, as long as nothing is added. */
void bk_copies_pause (BkCopies *set, bool pause);
void bk_copies_speed (BkCopies *set, uint64_t speed);
/* Carries out what was asked of @job since: pause, resume, speed. Its worker. */
void bk_copies_obey (BkCopies *set, BkJob *job);
/* The copy ends with CANCELLED soon, and is still to be waited for. */
void bk_copies_cancel (BkCopies *set, unsigned number);
BkCopyCounters bk_copies_counters (BkCopies *set, unsigned number);
