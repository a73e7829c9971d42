/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A job: a row of the catalog, a table of steps, and a runner that walks it.
 *
 *            start            step "copy"         step "release"         last step
 *   queued ---------> preparing --------> running ------------> finalizing ---------> completed | partial
 *     |                   |              |   ^  |                   |
 *     |                   |        pause |   |  |                   |
 *     |                   |              v   | resume               |
 *     |                   |              paused |                   |
 *     '--------+----------+----------------+----+-------------------'
 *              v
 *       failed | cancelled           (undo runs first; the state says what comes of it at the end)
 *
 * From preparing, running, paused and finalizing a job may go back to preparing, when all has been undone and its kind
 * begins anew ("again").
 *
 * One function of job.c changes the state, against the transition table in job-state.c; the verb table there
 * answers both "may I cancel?" and the actions that the API shows.
 *
 * Each step has work (in a worker thread), a record function (main thread, in one catalog transaction with the
 * change of step) and an undo (worker). Failure and cancel walk the undo functions backwards from the step
 * that failed; a restart of the daemon does the same for jobs that cannot go on, and goes on with the others.
 * Undo functions do nothing when there is nothing to undo. When one cannot do its work because the VM is not
 * there, the job ends all the same but stays unsettled: bk_job_settle() tries again.
 *
 * Main thread, but for what is marked otherwise.
 */
#pragma once

#include "catalog.h"
#include "event-ring.h"

typedef struct BkJob BkJob;

typedef enum { BK_VERB_CANCEL, BK_VERB_PAUSE, BK_VERB_RESUME, BK_VERB_SPEED, BK_VERB_LAST } BkVerb;

typedef struct {
  const char *name;
  const char *state; /* of the job while in this step */
  /* Worker thread; NULL = nothing. */
  gboolean (*work) (BkJob *job, gpointer data, GCancellable *cancellable, GError **error);
  /* Main thread, after work, inside a catalog transaction that also stores the job; NULL = nothing. */
  gboolean (*record) (BkJob *job, gpointer data, GError **error);
  /* Worker thread; NULL = nothing. */
  gboolean (*undo) (BkJob *job, gpointer data, GError **error);
} BkStep;

typedef struct {
  const char *name; /* backup, restore, delete */
  const BkStep *steps; /* ended by a NULL name */
  const char *adopt_from; /* a job found in this step or a later one after a restart goes on with it; NULL = never */
  const char *why_undone; /* what is said of a job that was found before that step; NULL where there is none */
  bool restart;           /* found unfinished after a restart of the daemon, it is queued again from the first step */
  unsigned verbs;         /* bit mask of 1 << BkVerb that the kind knows in state running and paused */
  json_object *(*to_json) (gpointer data);             /* what goes into the catalog, (transfer full); NULL = the request says it all */
  void (*progress) (BkJob *job, gpointer data);        /* brings bk_job_info() up to date; main thread; also while work runs */
  /* Main thread: carries out pause, resume or speed at once; NULL = the worker does, by bk_job_next_verb(). */
  void (*verb) (BkJob *job, gpointer data, BkVerb verb, uint64_t value);
  void (*undone) (BkJob *job, gpointer data);          /* main thread, after all undo functions succeeded */
  /* Main thread, after undone, of a job that has failed: true when it is worth while to begin anew from the first step, and
   * the data is ready for that. What it says of the failure is to be told by the kind. NULL = never. */
  bool (*again) (BkJob *job, gpointer data);
  void (*free) (gpointer data);
} BkJobKind;

typedef void (*BkJobEnded) (BkJob *job, gpointer user_data);

/* @record, @data: (transfer full); the record is in the catalog already. @ended: called once the job is in an
 * end state and no work runs, and again after each bk_job_settle(). */
BkJob *bk_job_new (BkCatalog *catalog, BkEventRing *events, BkJobRecord *record, const BkJobKind *kind, gpointer data,
                   BkJobEnded ended, gpointer user_data);
BkJob *bk_job_ref (BkJob *job);
void bk_job_unref (BkJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkJob, bk_job_unref)

BkJobInfo *bk_job_info (BkJob *job);    /* (transfer none), live */
const char *bk_job_id (BkJob *job);     /* any thread */
uint64_t bk_job_number (BkJob *job);    /* any thread */
json_object *bk_job_request (BkJob *job);
gpointer bk_job_data (BkJob *job);
BkCatalog *bk_job_catalog (BkJob *job);
BkEventRing *bk_job_events (BkJob *job);
bool bk_job_is_over (BkJob *job);    /* in an end state */
bool bk_job_is_settled (BkJob *job); /* and nothing is left to undo */
bool bk_job_is_working (BkJob *job); /* a worker is at it */

/* A copy with actions and progress as of now, for the API. (transfer full) */
BkJobInfo *bk_job_snapshot (BkJob *job);

/* Why a queued job is not started yet: its reason until it is. */
void bk_job_set_waiting (BkJob *job, const char *why);
/* From queued to the first step. */
void bk_job_start (BkJob *job);
/* After a restart: goes on, or undoes with the kind's why_undone as the error. */
void bk_job_recover (BkJob *job);
/* True for the row of a job whose undo had begun: it can only be undone further. */
bool bk_job_was_undone (const BkJobInfo *info);
/* Tries the undo again for a job that is over but not settled. */
void bk_job_settle (BkJob *job);
/* Ends the worker without undo or change of state: the daemon stops, and the next one recovers the job. */
void bk_job_detach (BkJob *job);

/* Changes state or speed at once; the worker carries it out within half a second. CONFLICT when the table says no. */
gboolean bk_job_verb (BkJob *job, BkVerb verb, uint64_t value, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- for kinds --- */

/* Cancelled when the job is, or when the daemon stops. Any thread. */
GCancellable *bk_job_cancellable (BkJob *job);

/* Worker thread: the next pause, resume or speed that waits to be carried out; FALSE when none does. */
bool bk_job_next_verb (BkJob *job, BkVerb *verb, uint64_t *value);

/* Worker thread: what works for the job has paused of its own accord, for @why: (transfer full). It is the job's error
 * until it is resumed. */
void bk_job_paused (BkJob *job, GError *why);
/* record functions: the job ends as partial instead of completed. */
void bk_job_set_partial (BkJob *job, const GError *error);

/* Pure tables (job-state.c). Words are those of bk_job_states. */
bool bk_job_state_may_follow (const char *from, const char *to);
bool bk_job_state_is_end (const char *state);
bool bk_job_verb_allowed (BkVerb verb, const char *state, unsigned kind_verbs);
const char *bk_verb_name (BkVerb verb);
GStrv bk_job_actions (const char *state, unsigned kind_verbs);
