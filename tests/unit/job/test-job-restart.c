/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The runner of job.c: a job whose daemon ends, and what the next daemon makes of it.
 */
#include "job-bench.h"

/* --- after a restart --- */

START_TEST (detach_leaves_the_row)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    start_and_hold (bench, step->name);
    g_autofree char *states = g_strdup (bench->states->str);
    bk_job_detach (bench->job);
    until (is_idle, bench);
    g_autoptr (BkJobRecord) row = read_row (bench);
    ck_assert_str_eq (row->info->step, step->name);
    ck_assert (!bk_job_state_is_end (row->info->state) && !row->settled);
    ck_assert_ptr_null (row->info->error);
    ck_assert_uint_eq (bench->ended, 0);
    ck_assert_str_eq (bench->states->str, states);
    GString *log = forward (step->name, false);
    assert_log (bench, log->str);
    g_string_free (log, TRUE);
  }
}
END_TEST

START_TEST (recovered_job_is_undone)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    start_and_hold (bench, step->name);
    restart (bench);
    recover (bench);
    GString *log = g_string_new (NULL);
    assert_undone (bench, log, step->name);
    assert_over (bench, "failed", "failed", true);
    ck_assert_str_eq (bk_job_info (bench->job)->error->message, FAKE_JOB_WHY);
    ck_assert_str_eq (bench->states->str, "failed");
    g_autoptr (BkJobRecord) row = read_row (bench);
    ck_assert_str_eq (row->info->step, step->name);
  }
}
END_TEST

START_TEST (recovered_job_is_adopted)
{
  bool adopt = false;
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    adopt |= strcmp (step->name, "copy") == 0;
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->kind.adopt_from = "copy";
    start_and_hold (bench, step->name);
    restart (bench);
    recover (bench);
    GString *log = forward ("commit", true);
    if (adopt) {
      g_autofree char *first = g_strconcat ("+", step->name, NULL);
      assert_log (bench, strstr (log->str, first));
      assert_over (bench, "completed", NULL, true);
      assert_steps (bench, NULL, NULL);
      ck_assert_str_eq (bench->states->str, strcmp (step->name, "copy") == 0 ? "running finalizing completed" : "finalizing completed");
    } else {
      g_string_truncate (log, 0);
      append_undo (log, step->name);
      assert_log (bench, log->str);
      assert_over (bench, "failed", "failed", true);
    }
    g_string_free (log, TRUE);
  }
}
END_TEST

/* An undo that had begun goes on, whatever the step; the job ends as it would have. */
START_TEST (undo_goes_on_after_a_restart)
{
  for (int cancel = 0; cancel < 2; cancel++) {
    g_autoptr (Bench) bench = bench_new ();
    bench->kind.adopt_from = "copy";
    bench->fake.hold_undo = "prepare";
    bench->fake.fail_work = cancel ? NULL : "copy";
    if (cancel) {
      start_and_hold (bench, "copy");
      verb (bench, BK_VERB_CANCEL, 0);
    } else {
      bk_job_start (bench->job);
    }
    wait_log (bench, "-prepare");
    restart (bench);
    ck_assert (!bk_job_is_over (bench->job));
    recover (bench);
    assert_log (bench, "-copy -prepare -plan undone");
    assert_over (bench, cancel ? "cancelled" : "failed", cancel ? "cancelled" : "no-space", true);
    ck_assert_str_eq (bk_job_info (bench->job)->error->message, cancel ? "cancelled on request" : "work of copy fails");
    assert_steps (bench, "copy", cancel ? "undone" : "failed");
  }
}
END_TEST

/* The daemon stops before the worker has heard of it. */
START_TEST (cancel_lasts_over_a_restart)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->kind.adopt_from = "copy";
  start_and_hold (bench, "copy");
  verb (bench, BK_VERB_CANCEL, 0);
  restart (bench);
  recover (bench);
  assert_log (bench, "-copy -prepare -plan undone");
  assert_over (bench, "cancelled", "cancelled", true);
}
END_TEST

START_TEST (undo_after_a_failed_record_goes_on_after_a_restart)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->record == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->kind.adopt_from = "copy";
    bench->fake.fail_record = step->name;
    bench->fake.hold_undo = "plan";
    bk_job_start (bench->job);
    until (fake_job_is_held, &bench->fake);
    restart (bench);
    recover (bench);
    GString *log = g_string_new (NULL);
    assert_undone (bench, log, step->name);
    assert_over (bench, "failed", "no-space", true);
  }
}
END_TEST

/* A row of another version, whose steps were others: everything that might have been done is undone. */
START_TEST (unknown_step_undoes_everything)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (Bench) bench = bench_new ();
  start_and_hold (bench, "copy");
  g_autoptr (BkJobRecord) row = read_row (bench);
  while (row->info->steps->len > 2) {
    bk_job_step_free (row->info->steps->pdata[row->info->steps->len - 1]);
    g_ptr_array_set_size (row->info->steps, (int)row->info->steps->len - 1);
  }
  g_free (row->info->step);
  row->info->step = g_strdup ("scan");
  ck_assert (bk_catalog_update_job (bench->catalog, row, &error));
  restart (bench);
  recover (bench);
  GString *log = g_string_new (NULL);
  assert_undone (bench, log, "commit");
  assert_over (bench, "failed", "failed", true);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    detach_leaves_the_row, recovered_job_is_undone, recovered_job_is_adopted, undo_goes_on_after_a_restart,
    cancel_lasts_over_a_restart, undo_after_a_failed_record_goes_on_after_a_restart, unknown_step_undoes_everything, NULL
  };
  return bk_suite_run ("job-restart", tests);
}
