/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake-job.h"

#include <check.h>

void
fake_job_init (FakeJob *fake)
{
  *fake = (FakeJob){ .log = g_string_new (NULL), .main = g_thread_self () };
  g_mutex_init (&fake->mutex);
}

void
fake_job_clear (FakeJob *fake)
{
  g_string_free (fake->log, TRUE);
  g_mutex_clear (&fake->mutex);
}

static void
note (FakeJob *fake, const char *prefix, const char *word)
{
  g_mutex_lock (&fake->mutex);
  g_string_append_printf (fake->log, "%s%s%s", fake->log->len ? " " : "", prefix, word);
  g_mutex_unlock (&fake->mutex);
}

char *
fake_job_log (FakeJob *fake)
{
  g_mutex_lock (&fake->mutex);
  char *log = g_strdup (fake->log->str);
  g_mutex_unlock (&fake->mutex);
  return log;
}

bool
fake_job_is_held (gpointer data)
{
  FakeJob *fake = data;
  g_mutex_lock (&fake->mutex);
  bool held = fake->held != NULL;
  g_mutex_unlock (&fake->mutex);
  return held;
}

static bool
set_held (FakeJob *fake, const char *step)
{
  g_mutex_lock (&fake->mutex);
  fake->held = step;
  bool released = fake->released;
  g_mutex_unlock (&fake->mutex);
  return released;
}

void
fake_job_release (FakeJob *fake)
{
  g_mutex_lock (&fake->mutex);
  fake->released = true;
  g_mutex_unlock (&fake->mutex);
}

static gboolean
fail_where (const char *wanted, const char *step, const char *what, GError **error)
{
  if (g_strcmp0 (wanted, step) != 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_NO_SPACE, "%s of %s fails", what, step);
  return FALSE;
}

static void
carry_out (BkJob *job, FakeJob *fake)
{
  BkVerb verb;
  uint64_t value;
  while (bk_job_next_verb (job, &verb, &value)) {
    g_autofree char *speed = verb == BK_VERB_SPEED ? g_strdup_printf ("=%u", (unsigned)value) : g_strdup ("");
    note (fake, bk_verb_name (verb), speed);
  }
}

static gboolean
wait_for_release (BkJob *job, FakeJob *fake, const char *step, GCancellable *cancellable, GError **error)
{
  bool cancelled = false;
  while (!set_held (fake, step) && !cancelled) {
    carry_out (job, fake);
    g_usleep (1000);
    cancelled = g_cancellable_is_cancelled (cancellable);
  }
  set_held (fake, NULL);
  if (!cancelled || fake->deaf)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CANCELLED, "the work was cancelled");
  return FALSE;
}

static gboolean
work (BkJob *job, FakeJob *fake, const char *step, GCancellable *cancellable, GError **error)
{
  ck_assert_ptr_ne (g_thread_self (), fake->main);
  ck_assert_ptr_eq (cancellable, bk_job_cancellable (job));
  note (fake, "+", step);
  if (g_strcmp0 (fake->hold, step) == 0 && !wait_for_release (job, fake, step, cancellable, error))
    return FALSE;
  return fail_where (fake->fail_work, step, "work", error);
}

static gboolean
record (BkJob *job, FakeJob *fake, const char *step, GError **error)
{
  ck_assert_ptr_eq (g_thread_self (), fake->main);
  ck_assert (!bk_job_is_working (job));
  note (fake, "=", step);
  if (fake->partial && g_str_equal (step, "commit")) {
    g_autoptr (GError) partial = g_error_new (BK_ERROR, BK_ERROR_PARTIAL, "1 of 2 disks");
    bk_job_set_partial (job, partial);
  }
  return fail_where (fake->fail_record, step, "record", error);
}

static gboolean
undo (FakeJob *fake, const char *step, GError **error)
{
  ck_assert_ptr_ne (g_thread_self (), fake->main);
  note (fake, "-", step);
  while (g_strcmp0 (fake->hold_undo, step) == 0 && !set_held (fake, step))
    g_usleep (1000);
  set_held (fake, NULL);
  return fail_where (fake->fail_undo, step, "undo", error);
}

#define STEP(step)                                                                                                  \
  static gboolean work_##step (BkJob *job, gpointer data, GCancellable *cancellable, GError **error)               \
  {                                                                                                                 \
    return work (job, data, #step, cancellable, error);                                                             \
  }                                                                                                                 \
  static gboolean record_##step (BkJob *job, gpointer data, GError **error)                                        \
  {                                                                                                                 \
    return record (job, data, #step, error);                                                                        \
  }                                                                                                                 \
  static gboolean undo_##step (BkJob *job G_GNUC_UNUSED, gpointer data, GError **error)                            \
  {                                                                                                                 \
    return undo (data, #step, error);                                                                               \
  }

STEP (plan)
STEP (prepare)
STEP (copy)
STEP (release)
STEP (commit)

const BkStep fake_job_steps[] = {
  { "plan", "preparing", work_plan, record_plan, undo_plan },
  { "idle", "preparing", NULL, NULL, NULL },
  { "prepare", "preparing", work_prepare, record_prepare, undo_prepare },
  { "copy", "running", work_copy, record_copy, undo_copy },
  { "release", "finalizing", work_release, record_release, undo_release },
  { "commit", "finalizing", work_commit, record_commit, undo_commit },
  { NULL },
};

static json_object *
to_json (gpointer data)
{
  g_autofree char *log = fake_job_log (data);
  return json_object_new_string (log);
}

/* A thousand bytes of a million more each time. */
static void
progress (BkJob *job, gpointer data)
{
  ck_assert_ptr_eq (g_thread_self (), ((FakeJob *)data)->main);
  bk_job_info (job)->bytes_total = 1000000;
  bk_job_info (job)->bytes_transferred += 1000;
}

static void
undone (BkJob *job, gpointer data)
{
  FakeJob *fake = data;
  ck_assert_ptr_eq (g_thread_self (), fake->main);
  ck_assert (!bk_job_is_working (job));
  fake->undone++;
  note (fake, "", "undone");
}

static void
free_data (gpointer data)
{
  FakeJob *fake = data;
  ck_assert_ptr_eq (g_thread_self (), fake->main);
  fake->freed++;
}

static bool
again (BkJob *job G_GNUC_UNUSED, gpointer data)
{
  FakeJob *fake = data;
  bool worth = fake->again;
  fake->again = false;
  if (worth)
    fake->fail_work = fake->fail_record = NULL;
  return worth;
}

const BkJobKind fake_job_kind = {
  .name = "fake",
  .steps = fake_job_steps,
  .why_undone = FAKE_JOB_WHY,
  .verbs = 1 << BK_VERB_CANCEL | 1 << BK_VERB_PAUSE | 1 << BK_VERB_RESUME | 1 << BK_VERB_SPEED,
  .to_json = to_json,
  .progress = progress,
  .undone = undone,
  .again = again,
  .free = free_data,
};
