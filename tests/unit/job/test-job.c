/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The runner of job.c: a job goes forward, fails, and is undone.
 */
#include "job-bench.h"

/* --- forward --- */

START_TEST (does_all_steps_in_order)
{
  g_autoptr (Bench) bench = bench_new ();
  ck_assert (!bk_job_is_over (bench->job) && !bk_job_is_working (bench->job));
  run (bench);
  assert_log (bench, "+plan =plan +prepare =prepare +copy =copy +release =release +commit =commit");
  ck_assert_str_eq (bench->states->str, "preparing running finalizing completed");
  assert_steps (bench, NULL, NULL);
  assert_over (bench, "completed", NULL, true);
  ck_assert_ptr_null (bk_job_info (bench->job)->step);
  ck_assert_uint_eq (bench->fake.undone, 0);
}
END_TEST

START_TEST (shows_and_stores_the_step_at_hand)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    start_and_hold (bench, step->name);
    ck_assert_str_eq (bk_job_info (bench->job)->state, step->state);
    ck_assert_str_eq (bk_job_info (bench->job)->step, step->name);
    ck_assert (bk_job_is_working (bench->job));
    assert_steps (bench, step->name, "running");
    g_autoptr (BkJobRecord) row = read_row (bench);
    ck_assert_str_eq (row->info->step, step->name);
    g_autofree char *before = fake_job_log (&bench->fake);
    ck_assert_int_eq (json_object_is_type (row->run, json_type_string), 1);
    ck_assert (g_str_has_prefix (before, json_object_get_string (row->run)));
    fake_job_release (&bench->fake);
    wait_end (bench, 1);
    assert_over (bench, "completed", NULL, true);
  }
}
END_TEST

START_TEST (may_be_partial)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->fake.partial = true;
  run (bench);
  ck_assert_str_eq (bench->states->str, "preparing running finalizing partial");
  assert_over (bench, "partial", "partial", true);
  ck_assert_str_eq (bk_job_info (bench->job)->error->message, "1 of 2 disks");
  ck_assert_uint_eq (bench->fake.undone, 0);
}
END_TEST

static bool
has_rate (gpointer data)
{
  return bk_job_info (((Bench *)data)->job)->rate > 0;
}

START_TEST (tells_how_fast_it_goes)
{
  g_autoptr (Bench) bench = bench_new ();
  start_and_hold (bench, "copy");
  uint64_t events = bk_event_ring_last (bench->events);
  until (has_rate, bench);
  ck_assert_uint_gt (bk_event_ring_last (bench->events), events);
  const BkJobInfo *info = bk_job_info (bench->job);
  ck_assert_int_ge (info->eta_seconds, 0);
  fake_job_release (&bench->fake);
  wait_end (bench, 1);
  ck_assert_uint_eq (info->rate, 0);
  ck_assert_int_eq (info->eta_seconds, -1);
}
END_TEST

/* A row that says that nothing is left to be done, of a job that is not over, would be undone after a crash. */
START_TEST (ends_with_the_last_record)
{
  g_autoptr (Bench) bench = bench_new ();
  forbid (bench, "NEW.state = 'finalizing' AND NEW.info NOT LIKE '%\"step\":\"%'");
  run (bench);
  assert_over (bench, "completed", NULL, true);
}
END_TEST

START_TEST (ends_partial_with_the_last_record)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->fake.partial = true;
  forbid (bench, "NEW.state IN ('finalizing', 'completed') AND NEW.info NOT LIKE '%\"step\":\"%'");
  run (bench);
  assert_over (bench, "partial", "partial", true);
}
END_TEST

/* --- failure --- */

START_TEST (failed_work_is_undone)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->fake.fail_work = step->name;
    run (bench);
    GString *log = forward (step->name, false);
    assert_undone (bench, log, step->name);
    assert_steps (bench, step->name, "failed");
    assert_over (bench, "failed", "no-space", true);
    ck_assert (g_str_has_suffix (bench->states->str, "failed"));
    ck_assert_str_eq (bk_job_info (bench->job)->step, step->name);
    ck_assert_uint_eq (bench->fake.undone, 1);
  }
}
END_TEST

/* All is undone first, and only then done again, once. */
START_TEST (begins_anew_where_the_kind_wants_it)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->work == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->fake.fail_work = step->name;
    bench->fake.again = true;
    run (bench);
    g_autofree char *log = fake_job_log (&bench->fake);
    g_autoptr (GString) once = forward (NULL, true);
    ck_assert_msg (g_str_has_suffix (log, once->str) && strlen (log) > strlen (once->str), "%s", log);
    assert_over (bench, "completed", NULL, true);
    ck_assert_uint_eq (bench->fake.undone, 1);
  }
}
END_TEST

START_TEST (does_not_begin_anew_what_is_not_undone)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->fake.fail_work = "copy";
  bench->fake.fail_undo = "prepare";
  bench->fake.again = true;
  run (bench);
  assert_over (bench, "failed", "no-space", false);
  ck_assert_uint_eq (bench->fake.undone, 0);
}
END_TEST

START_TEST (failed_record_is_undone)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->record == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->fake.fail_record = step->name;
    run (bench);
    GString *log = forward (step->name, true);
    assert_undone (bench, log, step->name);
    assert_steps (bench, step->name, "failed");
    assert_over (bench, "failed", "no-space", true);
    g_autofree char *message = g_strdup_printf ("record of %s fails", step->name);
    ck_assert_str_eq (bk_job_info (bench->job)->error->message, message);
  }
}
END_TEST

/* The row of the step that is done cannot be written: the step counts as failed, in the row as well. */
START_TEST (unwritten_row_is_undone)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    g_autoptr (Bench) bench = bench_new ();
    const char *next = step[1].name;
    g_autofree char *condition = next ? g_strdup_printf ("NEW.info LIKE '%%\"step\":\"%s\"%%'", next)
                                      : g_strdup ("NEW.state = 'completed'");
    forbid (bench, condition);
    run (bench);
    ck_assert_str_eq (bk_job_info (bench->job)->step, step->name);
    assert_steps (bench, step->name, "failed");
    assert_over (bench, "failed", "failed", true);
    GString *log = forward (step->name, true);
    assert_undone (bench, log, step->name);
  }
}
END_TEST

START_TEST (catalog_that_cannot_be_written_begins_nothing)
{
  g_autoptr (Bench) bench = bench_new ();
  forbid (bench, "true");
  run (bench);
  ck_assert_str_eq (bk_job_info (bench->job)->state, "failed");
  assert_log (bench, "-plan undone");
}
END_TEST

/* --- undo that cannot be done --- */

START_TEST (failed_undo_stays_unsettled)
{
  g_autoptr (Bench) bench = bench_new ();
  bench->fake.fail_work = "copy";
  bench->fake.fail_undo = "prepare";
  run (bench);
  /* The others do their part all the same. */
  assert_log (bench, "+plan =plan +prepare =prepare +copy -copy -prepare -plan");
  assert_over (bench, "failed", "no-space", false);
  ck_assert_uint_eq (bench->fake.undone, 0);

  bk_job_settle (bench->job);
  bk_job_settle (bench->job); /* at it already */
  wait_end (bench, 2);
  assert_over (bench, "failed", "no-space", false);
  ck_assert_uint_eq (bench->fake.undone, 0);

  bench->fake.fail_undo = NULL;
  bk_job_settle (bench->job);
  wait_end (bench, 3);
  assert_over (bench, "failed", "no-space", true);
  ck_assert_uint_eq (bench->fake.undone, 1);
  ck_assert_str_eq (bk_job_info (bench->job)->error->message, "work of copy fails");

  bk_job_settle (bench->job);
  ck_assert (!bk_job_is_working (bench->job));
  ck_assert_uint_eq (bench->fake.undone, 1);
  assert_log (bench, "+plan =plan +prepare =prepare +copy -copy -prepare -plan"
                     " -copy -prepare -plan -copy -prepare -plan undone");
}
END_TEST

START_TEST (unsettled_job_is_undone_after_a_restart)
{
  for (const BkStep *step = fake_job_steps; step->name; step++) {
    if (step->record == NULL)
      continue;
    g_autoptr (Bench) bench = bench_new ();
    bench->fake.fail_record = step->name;
    bench->fake.fail_undo = "plan";
    bench->kind.adopt_from = "copy";
    run (bench);
    assert_over (bench, "failed", "no-space", false);
    restart (bench);
    recover (bench);
    GString *log = g_string_new (NULL);
    assert_undone (bench, log, step->name);
    assert_over (bench, "failed", "no-space", true);
    assert_steps (bench, step->name, "failed");
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    does_all_steps_in_order, shows_and_stores_the_step_at_hand, may_be_partial, tells_how_fast_it_goes,
    ends_with_the_last_record, ends_partial_with_the_last_record, failed_work_is_undone, begins_anew_where_the_kind_wants_it, does_not_begin_anew_what_is_not_undone, failed_record_is_undone,
    unwritten_row_is_undone, catalog_that_cannot_be_written_begins_nothing, failed_undo_stays_unsettled,
    unsettled_job_is_undone_after_a_restart, NULL
  };
  return bk_suite_run ("job", tests);
}
