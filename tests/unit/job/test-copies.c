/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copies.h"
#include "suite.h"

#include <string.h>

#define SIZE (1u << 20)

/* --- a source that may fail or hang, and a target that counts --- */

typedef struct {
  BkReader base;
  bool fails;
  int *running; /* atomic: of all of them */
} Source;

static gboolean
source_open (BkReader *reader, unsigned workers G_GNUC_UNUSED, GCancellable *cancellable G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  g_atomic_int_add (((Source *)reader)->running, 1);
  return TRUE;
}

static gboolean
source_extents (BkReader *reader, BkExtentFunc func, gpointer user_data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  return func (0, reader->size, BK_EXTENT_DATA, user_data, error);
}

static gboolean
source_read (BkReader *reader, unsigned worker G_GNUC_UNUSED, uint64_t offset G_GNUC_UNUSED, void *data, size_t length, GError **error)
{
  if (((Source *)reader)->fails) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the source is broken");
    return FALSE;
  }
  memset (data, 7, length);
  return TRUE;
}

static void
source_free (BkReader *reader)
{
  Source *self = (Source *)reader;
  if (reader->workers)
    g_atomic_int_add (self->running, -1);
  g_free (self);
}

typedef struct {
  BkSink base;
  int *written; /* atomic: bytes, outlives it */
  int *finished;
} Target;

static gboolean
target_write (BkSink *sink, unsigned worker G_GNUC_UNUSED, uint64_t offset G_GNUC_UNUSED, const void *data, size_t length, GError **error G_GNUC_UNUSED)
{
  ck_assert_int_eq (*(const char *)data, 7);
  g_atomic_int_add (((Target *)sink)->written, (int)length);
  return TRUE;
}

static gboolean
target_zero (BkSink *sink G_GNUC_UNUSED, unsigned worker G_GNUC_UNUSED, uint64_t offset G_GNUC_UNUSED, uint64_t length G_GNUC_UNUSED,
             GError **error G_GNUC_UNUSED)
{
  return TRUE;
}

static gboolean
target_finish (BkSink *sink, GCancellable *cancellable G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  g_atomic_int_add (((Target *)sink)->finished, 1);
  return TRUE;
}

static void
target_free (BkSink *sink)
{
  g_free (sink);
}

typedef struct {
  BkCopies *copies;
  int running, written, finished;
} Bench;

static unsigned
add (Bench *bench, bool fails)
{
  static const BkReaderOps source_ops = { .name = "source", .open = source_open, .extents = source_extents, .read = source_read, .free = source_free };
  static const BkSinkOps target_ops = { .name = "target", .write = target_write, .zero = target_zero, .finish = target_finish, .free = target_free };
  Source *source = g_new0 (Source, 1);
  source->base.ops = &source_ops;
  source->base.size = SIZE;
  source->fails = fails;
  source->running = &bench->running;
  Target *target = g_new0 (Target, 1);
  target->base.ops = &target_ops;
  target->base.size = SIZE;
  target->base.block = 65536;
  target->written = &bench->written;
  target->finished = &bench->finished;
  return bk_copies_add (bench->copies, &source->base, &target->base);
}

/* Which have ended well, as bits, and the last failure. */
static unsigned
wait_all (Bench *bench, GError **failure)
{
  unsigned good = 0;
  int64_t end = g_get_monotonic_time () + 30 * G_USEC_PER_SEC;
  while (bk_copies_is_busy (bench->copies)) {
    g_autoptr (GError) error = NULL;
    ck_assert (g_get_monotonic_time () < end);
    int number = bk_copies_wait (bench->copies, 100, &error);
    if (number >= 0 && error == NULL)
      good |= 1u << number;
    if (error) {
      g_clear_error (failure);
      g_propagate_error (failure, g_steal_pointer (&error));
    }
  }
  return good;
}

START_TEST (all_of_them_arrive)
{
  Bench bench = { .copies = bk_copies_new (0) };
  g_autoptr (GError) failure = NULL;
  for (unsigned i = 0; i < 3 * BK_COPIES_AT_ONCE; i++)
    ck_assert_uint_eq (add (&bench, false), i);
  ck_assert_uint_eq (wait_all (&bench, &failure), (1u << (3 * BK_COPIES_AT_ONCE)) - 1);
  bk_assert_no_error (failure);
  ck_assert_int_eq (bench.written, 3 * BK_COPIES_AT_ONCE * SIZE);
  ck_assert_int_eq (bench.finished, 3 * BK_COPIES_AT_ONCE);
  for (unsigned i = 0; i < 3 * BK_COPIES_AT_ONCE; i++)
    ck_assert_uint_eq (bk_copies_counters (bench.copies, i).transferred, SIZE);
  bk_copies_free (bench.copies);
}
END_TEST

START_TEST (one_fails_alone)
{
  Bench bench = { .copies = bk_copies_new (0) };
  g_autoptr (GError) failure = NULL;
  add (&bench, false);
  add (&bench, true);
  add (&bench, false);
  ck_assert_uint_eq (wait_all (&bench, &failure), 1 | 4);
  bk_assert_error (failure, BK_ERROR_FAILED);
  ck_assert_int_eq (bench.finished, 2);
  bk_copies_free (bench.copies);
}
END_TEST

/* 4 MiB with 1 MiB a second, shared by all. */
START_TEST (share_one_speed_limit)
{
  Bench bench = { .copies = bk_copies_new (SIZE) };
  g_autoptr (GError) failure = NULL;
  int64_t begun = g_get_monotonic_time ();
  for (unsigned i = 0; i < 4; i++)
    add (&bench, false);
  g_usleep (3 * G_USEC_PER_SEC / 2);
  ck_assert_int_gt (g_atomic_int_get (&bench.written), SIZE / 2);
  ck_assert_int_lt (g_atomic_int_get (&bench.written), 3 * SIZE);
  bk_copies_speed (bench.copies, 0);
  ck_assert_uint_eq (wait_all (&bench, &failure), 15);
  ck_assert_int_lt (g_get_monotonic_time () - begun, 3 * G_USEC_PER_SEC);
  bk_copies_free (bench.copies);
}
END_TEST

START_TEST (pause_holds_all_and_those_to_come)
{
  Bench bench = { .copies = bk_copies_new (0) };
  g_autoptr (GError) failure = NULL;
  bk_copies_pause (bench.copies, true);
  add (&bench, false);
  add (&bench, false);
  ck_assert_int_eq (bk_copies_wait (bench.copies, 500, &failure), -1);
  ck_assert_int_eq (g_atomic_int_get (&bench.written), 0);
  bk_copies_pause (bench.copies, false);
  ck_assert_uint_eq (wait_all (&bench, &failure), 3);
  bk_copies_free (bench.copies);
}
END_TEST

START_TEST (one_is_cancelled)
{
  Bench bench = { .copies = bk_copies_new (0) };
  g_autoptr (GError) failure = NULL;
  bk_copies_pause (bench.copies, true);
  add (&bench, false);
  add (&bench, false);
  bk_copies_cancel (bench.copies, 0);
  ck_assert_int_eq (bk_copies_wait (bench.copies, 2000, &failure), 0);
  bk_assert_error (failure, BK_ERROR_CANCELLED);
  bk_copies_pause (bench.copies, false);
  ck_assert_uint_eq (wait_all (&bench, &failure), 2);
  bk_copies_free (bench.copies);
}
END_TEST

START_TEST (freeing_ends_what_runs)
{
  Bench bench = { .copies = bk_copies_new (1) };
  for (unsigned i = 0; i < 2 * BK_COPIES_AT_ONCE; i++)
    add (&bench, false);
  g_usleep (G_USEC_PER_SEC / 4);
  int64_t begun = g_get_monotonic_time ();
  bk_copies_free (bench.copies);
  ck_assert_int_lt (g_get_monotonic_time () - begun, 2 * G_USEC_PER_SEC);
  ck_assert_int_eq (bench.running, 0);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { all_of_them_arrive, one_fails_alone, share_one_speed_limit, pause_holds_all_and_those_to_come,
                                 one_is_cancelled, freeing_ends_what_runs, NULL };
  return bk_suite_run ("copies", tests);
}
