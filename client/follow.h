/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Following a job to its end: `watch` and `--wait`.
 *
 * Events only make it quick; the job as GET answers it is the truth, read anew after each gap. So a restart of the
 * daemon, lost events and a stream that went silent are all the same case. Ctrl-C ends the following, not the job.
 */
#pragma once

#include "bk-types.h"
#include "args.h"
#include "sse.h"

/* Follows @job (transfer none) and shows its progress. Returns TRUE when it completed; else an error with the code of
 * its result (PARTIAL, CANCELLED, or that of the job's error), or UNREACHABLE when the daemon was away for too long.
 * *@last: (transfer full) the job's JSON at its end, also when it failed; NULL when the end was not seen. */
gboolean bk_follow (BkConnection *connection, BkOutput *output, const BkJobInfo *job, json_object **last, GError **error);

/* The job in the answer 202, or NULL. */
BkJobInfo *bk_follow_read (json_object *json, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What start, restore and delete do with the answer 202: prints the job (or its ID), and follows it with --wait. */
gboolean bk_follow_started (const BkArgs *args, BkConnection *connection, BkOutput *output, json_object *json, GError **error);

/* What watch does: follows, and prints the job at its end with --json. */
gboolean bk_follow_to_end (BkConnection *connection, BkOutput *output, const BkJobInfo *job, GError **error);
