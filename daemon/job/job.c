/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job.h"

#include "background.h"

#include <string.h>

/* Samples of the last seconds, one each, for rate and ETA. */
#define RATE_SAMPLES 6

typedef struct {
  BkVerb verb;
  uint64_t value;
} VerbRequest;

struct BkJob {
  BkCatalog *catalog;
  BkEventRing *events;
  BkJobRecord *record;
  const BkJobKind *kind;
  gpointer data;
  BkJobEnded ended;
  gpointer user_data;

  unsigned step;             /* index of the step at hand */
  GCancellable *cancellable; /* of the work at hand */
  bool cancelled;            /* the user asked for it */
  bool undoing;              /* and how it ends is known: cancelled, or failed with the error in its info */
  bool detached;             /* the daemon stops */
  bool working;
  bool partial;
  GAsyncQueue *verbs; /* VerbRequest, for the worker */
  unsigned timer;     /* progress, while a step is in state running */

  /* what the worker hands back */
  gboolean ok;
  GError *error;

  uint64_t samples[RATE_SAMPLES];
  int64_t sample_times[RATE_SAMPLES];
  unsigned n_samples;
};

static void run_step (BkJob *job);
static void undo_all (BkJob *job);

BkJob *
bk_job_new (BkCatalog *catalog, BkEventRing *events, BkJobRecord *record, const BkJobKind *kind, gpointer data,
            BkJobEnded ended, gpointer user_data)
{
  BkJob *job = g_atomic_rc_box_new0 (BkJob);
  job->catalog = catalog;
  job->events = events;
  job->record = record;
  job->kind = kind;
  job->data = data;
  job->ended = ended;
  job->user_data = user_data;
  job->cancellable = g_cancellable_new ();
  job->verbs = g_async_queue_new_full (g_free);
  return job;
}

static void
clear (gpointer at)
{
  BkJob *job = at;
  g_assert (!job->working && job->timer == 0);
  job->kind->free (job->data);
  bk_job_record_free (job->record);
  g_object_unref (job->cancellable);
  g_async_queue_unref (job->verbs);
  g_clear_error (&job->error);
}

BkJob *
bk_job_ref (BkJob *job)
{
  return g_atomic_rc_box_acquire (job);
}

void
bk_job_unref (BkJob *job)
{
  g_atomic_rc_box_release_full (job, clear);
}

BkJobInfo *
bk_job_info (BkJob *job)
{
  return job->record->info;
}

const char *
bk_job_id (BkJob *job)
{
  return job->record->info->id;
}

uint64_t
bk_job_number (BkJob *job)
{
  return job->record->number;
}

json_object *
bk_job_request (BkJob *job)
{
  return job->record->request;
}

gpointer
bk_job_data (BkJob *job)
{
  return job->data;
}

GCancellable *
bk_job_cancellable (BkJob *job)
{
  return job->cancellable;
}

BkCatalog *
bk_job_catalog (BkJob *job)
{
  return job->catalog;
}

BkEventRing *
bk_job_events (BkJob *job)
{
  return job->events;
}

bool
bk_job_is_over (BkJob *job)
{
  return bk_job_state_is_end (job->record->info->state);
}

bool
bk_job_is_settled (BkJob *job)
{
  return job->record->settled;
}

bool
bk_job_is_working (BkJob *job)
{
  return job->working;
}

static const BkStep *
current_step (BkJob *job)
{
  return &job->kind->steps[job->step];
}

/* --- what the world sees --- */

BkJobInfo *
bk_job_snapshot (BkJob *job)
{
  if (job->kind->progress && !bk_job_is_over (job))
    job->kind->progress (job, job->data);
  BkJobInfo *copy = bk_struct_copy (&bk_job_info_struct, job->record->info);
  g_strfreev (copy->actions);
  copy->actions = job->cancelled || job->undoing ? NULL : bk_job_actions (copy->state, job->kind->verbs);
  return copy;
}

static void
publish (BkJob *job)
{
  g_autoptr (BkJobInfo) info = bk_job_snapshot (job);
  bk_event_ring_publish (job->events, "job", info->vm, info->id, bk_struct_to_json (&bk_job_info_struct, info));
}

/* While a worker has the data, the row keeps what the last step left. */
static void
describe_run (BkJob *job)
{
  if (job->working)
    return;
  g_clear_pointer (&job->record->run, json_object_put);
  job->record->run = job->kind->to_json ? job->kind->to_json (job->data) : NULL;
}

static gboolean
store (BkJob *job, GError **error)
{
  describe_run (job);
  return bk_catalog_update_job (job->catalog, job->record, error);
}

/* Where a failed write cannot change what happens next: the row is behind, and recovery copes with that. */
static void
store_or_warn (BkJob *job)
{
  g_autoptr (GError) error = NULL;
  if (!store (job, &error))
    g_warning ("job %s: cannot store its state: %s", bk_job_id (job), error->message);
}

static void
set_state (BkJob *job, const char *state)
{
  BkJobInfo *info = job->record->info;
  g_assert (bk_job_state_may_follow (info->state, state));
  if (strcmp (info->state, state) == 0)
    return;
  g_message ("job %s: %s", info->id, state);
  if (strcmp (info->state, "queued") == 0)
    g_clear_pointer (&info->reason, g_free); /* of the wait */
  g_free (info->state);
  info->state = g_strdup (state);
}

static void
set_step (BkJob *job, const char *name)
{
  g_free (job->record->info->step);
  job->record->info->step = g_strdup (name);
}

static BkJobStep *
step_info (BkJob *job, unsigned index)
{
  return job->record->info->steps->pdata[index];
}

static void
mark_step (BkJob *job, unsigned index, const char *state)
{
  BkJobStep *step = step_info (job, index);
  g_free (step->state);
  step->state = g_strdup (state);
  if (strcmp (state, "running") == 0)
    step->started_at = g_get_real_time ();
  else
    step->ended_at = g_get_real_time ();
}

/* A row of another version may have had other steps. */
static bool
has_step_infos (const BkJob *job)
{
  const GPtrArray *rows = job->record->info->steps;
  unsigned n = 0;
  for (const BkStep *step = job->kind->steps; step->name; step++, n++)
    if (rows == NULL || n >= rows->len || strcmp (((const BkJobStep *)rows->pdata[n])->name, step->name) != 0)
      return false;
  return n == rows->len;
}

static void
add_step_infos (BkJob *job)
{
  BkJobInfo *info = job->record->info;
  if (has_step_infos (job))
    return;
  for (unsigned i = 0; info->steps && i < info->steps->len; i++)
    bk_job_step_free (info->steps->pdata[i]);
  g_clear_pointer (&info->steps, g_ptr_array_unref);
  info->steps = g_ptr_array_new ();
  for (const BkStep *step = job->kind->steps; step->name; step++) {
    BkJobStep *row = g_new0 (BkJobStep, 1);
    row->name = g_strdup (step->name);
    row->state = g_strdup ("waiting");
    g_ptr_array_add (info->steps, row);
  }
}

/* --- rate --- */

static void
measure_rate (BkJob *job)
{
  BkJobInfo *info = job->record->info;
  unsigned newest = job->n_samples % RATE_SAMPLES;
  job->samples[newest] = info->bytes_transferred;
  job->sample_times[newest] = g_get_monotonic_time ();
  job->n_samples++;
  unsigned oldest = job->n_samples < RATE_SAMPLES ? 0 : job->n_samples % RATE_SAMPLES;
  int64_t elapsed = job->sample_times[newest] - job->sample_times[oldest];
  uint64_t bytes = job->samples[newest] - MIN (job->samples[oldest], job->samples[newest]);
  info->rate = elapsed > 0 ? (uint64_t)((double)bytes * G_USEC_PER_SEC / (double)elapsed) : 0;
  uint64_t left = info->bytes_total - MIN (info->bytes_transferred, info->bytes_total);
  info->eta_seconds = info->rate > 0 ? (int64_t)(left / info->rate) : -1;
}

static gboolean
tick (gpointer user_data)
{
  BkJob *job = user_data;
  if (job->kind->progress)
    job->kind->progress (job, job->data);
  measure_rate (job);
  publish (job);
  return G_SOURCE_CONTINUE;
}

static void
start_timer (BkJob *job)
{
  if (job->timer == 0)
    job->timer = g_timeout_add_seconds (1, tick, job);
}

static void
stop_timer (BkJob *job)
{
  if (job->timer)
    g_source_remove (job->timer);
  job->timer = 0;
  job->n_samples = 0;
  job->record->info->rate = 0;
  job->record->info->eta_seconds = -1;
}

/* --- the end --- */

static void
end (BkJob *job, const char *state, bool settled)
{
  BkJobInfo *info = job->record->info;
  if (!bk_job_is_over (job)) {
    set_state (job, state);
    info->ended_at = g_get_real_time ();
  }
  job->record->settled = settled;
  store_or_warn (job);
  publish (job);
  job->ended (job, job->user_data);
}

static void
fail_open_disks (BkJob *job, const char *state)
{
  BkJobInfo *info = job->record->info;
  for (unsigned i = 0; info->disks && i < info->disks->len; i++) {
    BkJobDisk *disk = info->disks->pdata[i];
    if (strcmp (disk->state, "failed") != 0) {
      g_free (disk->state);
      disk->state = g_strdup (state);
    }
  }
}

static void
tell_undone (BkJob *job)
{
  if (job->kind->undone)
    job->kind->undone (job, job->data);
}

static void
end_undone (BkJob *job, bool settled)
{
  BkJobInfo *info = job->record->info;
  if (bk_job_is_over (job)) {
    end (job, info->state, settled);
    return;
  }
  const char *state = job->cancelled ? "cancelled" : "failed";
  fail_open_disks (job, state);
  end (job, state, settled);
}

/* --- undo --- */

static void
set_error (BkJob *job, const GError *error)
{
  BkJobInfo *info = job->record->info;
  bk_problem_free (info->error);
  info->error = bk_problem_new (error);
}

static void
set_cancelled (BkJob *job)
{
  g_autoptr (GError) error = g_error_new (BK_ERROR, BK_ERROR_CANCELLED, "cancelled on request");
  set_error (job, error);
}

static void
undo_work (gpointer user_data)
{
  BkJob *job = user_data;
  job->ok = TRUE;
  for (unsigned i = job->step + 1; i-- > 0;) {
    g_autoptr (GError) error = NULL;
    if (job->kind->steps[i].undo == NULL || job->kind->steps[i].undo (job, job->data, &error))
      continue;
    g_warning ("job %s: cannot undo '%s' yet: %s", bk_job_id (job), job->kind->steps[i].name, error->message);
    job->ok = FALSE;
  }
}

static void
reset_steps (BkJob *job)
{
  GPtrArray *rows = job->record->info->steps;
  for (unsigned i = 0; i < rows->len; i++) {
    BkJobStep *row = rows->pdata[i];
    g_free (row->state);
    row->state = g_strdup ("waiting");
    row->started_at = row->ended_at = 0;
  }
}

/* The row is that of a job that has just been started. */
static void
begin_again (BkJob *job)
{
  BkJobInfo *info = job->record->info;
  g_message ("job %s: begins anew after: %s", info->id, info->error->message);
  g_clear_pointer (&info->error, bk_problem_free);
  job->undoing = false;
  job->partial = false;
  job->step = 0;
  reset_steps (job);
  set_state (job, "preparing");
  set_step (job, job->kind->steps[0].name);
  store_or_warn (job);
  run_step (job);
}

static bool
is_worth_another_try (BkJob *job)
{
  return job->ok && !job->cancelled && !bk_job_is_over (job) && job->kind->again && job->kind->again (job, job->data);
}

static void
undo_done (gpointer user_data)
{
  g_autoptr (BkJob) job = user_data;
  job->working = false;
  if (job->detached)
    return;
  if (job->ok)
    tell_undone (job);
  if (is_worth_another_try (job))
    begin_again (job);
  else
    end_undone (job, job->ok);
}

static void
undo_all (BkJob *job)
{
  job->undoing = true;
  job->working = true;
  bk_background_run (undo_work, undo_done, bk_job_ref (job));
}

/* The row tells from here on that the job is being undone, and why: a restart in the middle goes on with that. */
static void
fail_step (BkJob *job, const GError *error)
{
  set_step (job, current_step (job)->name);
  mark_step (job, job->step, job->cancelled ? "undone" : "failed");
  if (job->cancelled) {
    set_cancelled (job);
  } else {
    g_warning ("job %s: step '%s': %s", bk_job_id (job), current_step (job)->name, error->message);
    set_error (job, error);
  }
  if (job->kind->progress)
    job->kind->progress (job, job->data);
  store_or_warn (job);
  undo_all (job);
}

/* --- steps --- */

static void
step_work (gpointer user_data)
{
  BkJob *job = user_data;
  const BkStep *step = current_step (job);
  job->ok = step->work == NULL || step->work (job, job->data, job->cancellable, &job->error);
}

static const char *
good_end (BkJob *job)
{
  return job->partial ? "partial" : "completed";
}

/* The row of the last step is that of a job that has ended: a crash from here on must find nothing to undo. */
static gboolean
store_end (BkJob *job, GError **error)
{
  describe_run (job);
  BkJobInfo info = *job->record->info;
  BkJobRecord record = *job->record;
  info.state = (char *)good_end (job);
  info.ended_at = g_get_real_time ();
  record.info = &info;
  record.settled = true;
  return bk_catalog_update_job (job->catalog, &record, error);
}

/* One transaction: what the step found out, and that it is done. */
static gboolean
record_step (BkJob *job, GError **error)
{
  const BkStep *step = current_step (job);
  g_autoptr (BkCatalogChange) change = bk_catalog_begin (job->catalog, error);
  if (change == NULL || (step->record && !step->record (job, job->data, error)))
    return FALSE;
  mark_step (job, job->step, "done");
  const BkStep *next = step + 1;
  set_step (job, next->name);
  gboolean stored = next->name ? store (job, error) : store_end (job, error);
  return stored && bk_catalog_commit (&change, error);
}

static void
step_done (gpointer user_data)
{
  g_autoptr (BkJob) job = user_data;
  g_autoptr (GError) error = g_steal_pointer (&job->error);
  job->working = false;
  stop_timer (job);
  if (job->detached)
    return;
  if (job->kind->progress)
    job->kind->progress (job, job->data);
  if (!job->ok || !record_step (job, &error)) {
    fail_step (job, error);
    return;
  }
  job->step++;
  if (current_step (job)->name == NULL)
    end (job, good_end (job), true);
  else
    run_step (job);
}

static void
run_step (BkJob *job)
{
  const BkStep *step = current_step (job);
  if (job->cancelled) {
    fail_step (job, NULL);
    return;
  }
  set_state (job, step->state);
  mark_step (job, job->step, "running");
  set_step (job, step->name);
  publish (job);
  if (strcmp (step->state, "running") == 0)
    start_timer (job);
  job->working = true;
  bk_background_run (step_work, step_done, bk_job_ref (job));
}

void
bk_job_set_waiting (BkJob *job, const char *why)
{
  BkJobInfo *info = job->record->info;
  g_assert (strcmp (info->state, "queued") == 0);
  if (g_strcmp0 (info->reason, why) == 0)
    return;
  g_free (info->reason);
  info->reason = g_strdup (why);
  publish (job);
}

void
bk_job_start (BkJob *job)
{
  BkJobInfo *info = job->record->info;
  add_step_infos (job);
  info->started_at = g_get_real_time ();
  set_state (job, "preparing");
  set_step (job, job->kind->steps[0].name);
  g_autoptr (GError) error = NULL;
  if (store (job, &error))
    run_step (job);
  else
    fail_step (job, error);
}

/* --- verbs --- */

/* The state changes before the worker has come to it: who types pause and then resume is not told that nothing was
 * paused. */
static void
hand_over (BkJob *job, BkVerb verb, uint64_t value)
{
  BkJobInfo *info = job->record->info;
  if (job->kind->verb) {
    job->kind->verb (job, job->data, verb, value);
  } else {
    VerbRequest *request = g_new (VerbRequest, 1);
    *request = (VerbRequest){ verb, value };
    g_async_queue_push (job->verbs, request);
  }
  const char *state = verb == BK_VERB_PAUSE ? "paused" : "running";
  if (verb == BK_VERB_RESUME)
    g_clear_pointer (&info->error, bk_problem_free);
  if (verb == BK_VERB_SPEED)
    info->speed = value;
  else if (bk_job_state_may_follow (info->state, state))
    set_state (job, state);
  store_or_warn (job);
  publish (job);
}

typedef struct {
  BkJob *job;
  GError *why;
} Pause;

/* A verb that came meanwhile is newer. */
static gboolean
pause_on_main (gpointer user_data)
{
  g_autofree Pause *pause = user_data;
  g_autoptr (BkJob) job = pause->job;
  g_autoptr (GError) why = pause->why;
  BkJobInfo *info = job->record->info;
  if (job->detached || g_async_queue_length (job->verbs) > 0 || strcmp (info->state, "running") != 0)
    return G_SOURCE_REMOVE;
  g_warning ("job %s is paused: %s", bk_job_id (job), why->message);
  bk_problem_free (info->error);
  info->error = bk_problem_new (why);
  set_state (job, "paused");
  store_or_warn (job);
  publish (job);
  return G_SOURCE_REMOVE;
}

void
bk_job_paused (BkJob *job, GError *why)
{
  Pause *pause = g_new (Pause, 1);
  *pause = (Pause){ bk_job_ref (job), why };
  g_idle_add (pause_on_main, pause);
}

/* --- after a restart --- */

static unsigned
find_step (const BkJobKind *kind, const char *name)
{
  unsigned i = 0;
  while (kind->steps[i].name && g_strcmp0 (kind->steps[i].name, name) != 0)
    i++;
  return i;
}

bool
bk_job_was_undone (const BkJobInfo *info)
{
  for (unsigned i = 0; info->steps && i < info->steps->len; i++) {
    const char *state = ((const BkJobStep *)info->steps->pdata[i])->state;
    if (strcmp (state, "failed") == 0 || strcmp (state, "undone") == 0)
      return true;
  }
  return false;
}

static void
adopt (BkJob *job)
{
  BkJobInfo *info = job->record->info;
  g_message ("job %s: going on with step '%s' after a restart", info->id, info->step);
  bool paused = strcmp (info->state, "paused") == 0;
  if (paused || !bk_job_state_may_follow (info->state, current_step (job)->state))
    set_state (job, "running");
  run_step (job);
  /* QEMU has kept it paused, too: only somebody who asks for it lets it go on. */
  if (paused && bk_job_verb_allowed (BK_VERB_PAUSE, info->state, job->kind->verbs))
    hand_over (job, BK_VERB_PAUSE, 0);
}

static const char *
why_undone (const BkJob *job)
{
  return job->kind->why_undone ? job->kind->why_undone : "the daemon was stopped in the middle; start the job again";
}

void
bk_job_recover (BkJob *job)
{
  BkJobInfo *info = job->record->info;
  bool undone = bk_job_was_undone (info);
  add_step_infos (job);
  job->step = find_step (job->kind, info->step);
  bool known = job->kind->steps[job->step].name != NULL;
  unsigned from = job->kind->adopt_from ? find_step (job->kind, job->kind->adopt_from) : G_MAXUINT;
  if (!bk_job_is_over (job) && !undone && known && job->step >= from) {
    adopt (job);
    return;
  }
  if (!known)
    job->step--; /* the last one: undo all that may have been done */
  job->cancelled = strcmp (step_info (job, job->step)->state, "undone") == 0;
  if (job->cancelled)
    set_cancelled (job);
  if (!bk_job_is_over (job) && !undone) {
    g_autoptr (GError) error = g_error_new (BK_ERROR, BK_ERROR_FAILED, "%s", why_undone (job));
    mark_step (job, job->step, "failed");
    set_error (job, error);
  }
  undo_all (job);
}

void
bk_job_settle (BkJob *job)
{
  g_assert (bk_job_is_over (job));
  if (job->working || job->record->settled)
    return;
  undo_all (job);
}

void
bk_job_detach (BkJob *job)
{
  job->detached = true;
  stop_timer (job);
  g_cancellable_cancel (job->cancellable);
}

/* The row says at once that the step at hand is to be undone, so that a restart does not go on with it. */
static void
cancel (BkJob *job)
{
  job->cancelled = true;
  g_cancellable_cancel (job->cancellable);
  if (strcmp (job->record->info->state, "queued") == 0) {
    add_step_infos (job);
    set_cancelled (job);
    tell_undone (job);
    end_undone (job, true);
    return;
  }
  mark_step (job, job->step, "undone");
  store_or_warn (job);
  publish (job);
}

gboolean
bk_job_verb (BkJob *job, BkVerb verb, uint64_t value, GError **error)
{
  BkJobInfo *info = job->record->info;
  if (!bk_job_verb_allowed (verb, info->state, job->kind->verbs) || job->cancelled || job->undoing) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "job '%s' is %s: %s is not possible", info->id,
                 job->cancelled ? "being cancelled" : job->undoing ? "being undone" : info->state, bk_verb_name (verb));
    return FALSE;
  }
  if (verb == BK_VERB_CANCEL) {
    cancel (job);
    return TRUE;
  }
  hand_over (job, verb, value);
  return TRUE;
}

bool
bk_job_next_verb (BkJob *job, BkVerb *verb, uint64_t *value)
{
  g_autofree VerbRequest *request = g_async_queue_try_pop (job->verbs);
  if (request == NULL)
    return false;
  *verb = request->verb;
  *value = request->value;
  return true;
}

void
bk_job_set_partial (BkJob *job, const GError *error)
{
  job->partial = true;
  bk_problem_free (job->record->info->error);
  job->record->info->error = bk_problem_new (error);
}
