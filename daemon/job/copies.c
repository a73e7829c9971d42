/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copies.h"

typedef struct {
  BkReader *reader;
  BkSink *sink;
  BkCopy *copy;
  GCancellable *cancellable;
  GError *failure; /* of the thread, until it is handed out */
  unsigned number;
} Member;

struct BkCopies {
  BkRate *rate;
  GThreadPool *threads;
  GPtrArray *members;  /* Member */
  GAsyncQueue *ended;  /* Member */
  unsigned returned;
  bool paused;
};

static void
member_free (gpointer data)
{
  Member *member = data;
  bk_copy_free (member->copy);
  bk_reader_free (member->reader);
  bk_sink_free (member->sink);
  g_object_unref (member->cancellable);
  g_clear_error (&member->failure);
  g_free (member);
}

static void
run (gpointer data, gpointer user_data)
{
  Member *member = data;
  BkCopies *set = user_data;
  if (bk_copy_run (member->copy, member->cancellable, &member->failure))
    g_assert (member->failure == NULL);
  g_async_queue_push (set->ended, member);
}

BkCopies *
bk_copies_new (uint64_t speed)
{
  BkCopies *set = g_new0 (BkCopies, 1);
  set->rate = bk_rate_new (speed);
  /* Threads of its own, which stay as long as it does: children of sinks end with the thread that started them. */
  set->threads = g_thread_pool_new (run, set, BK_COPIES_AT_ONCE, TRUE, NULL);
  set->members = g_ptr_array_new_with_free_func (member_free);
  set->ended = g_async_queue_new ();
  return set;
}

void
bk_copies_free (BkCopies *set)
{
  for (unsigned i = 0; i < set->members->len; i++)
    bk_copies_cancel (set, i);
  g_thread_pool_free (set->threads, FALSE, TRUE);
  g_ptr_array_unref (set->members);
  g_async_queue_unref (set->ended);
  bk_rate_unref (set->rate);
  g_free (set);
}

unsigned
bk_copies_add (BkCopies *set, BkReader *reader, BkSink *sink)
{
  const BkCopyOptions options = { .rate = set->rate };
  Member *member = g_new0 (Member, 1);
  member->reader = reader;
  member->sink = sink;
  member->copy = bk_copy_new (reader, sink, &options);
  member->cancellable = g_cancellable_new ();
  member->number = set->members->len;
  if (set->paused)
    bk_copy_pause (member->copy);
  g_ptr_array_add (set->members, member);
  g_thread_pool_push (set->threads, member, NULL);
  return member->number;
}

int
bk_copies_wait (BkCopies *set, unsigned timeout_ms, GError **failure)
{
  Member *member = g_async_queue_timeout_pop (set->ended, (guint64)timeout_ms * 1000);
  if (member == NULL)
    return -1;
  set->returned++;
  if (member->failure)
    g_propagate_error (failure, g_steal_pointer (&member->failure));
  return (int)member->number;
}

bool
bk_copies_is_busy (const BkCopies *set)
{
  return set->returned < set->members->len;
}

static Member *
member_at (BkCopies *set, unsigned number)
{
  return set->members->pdata[number];
}

void
bk_copies_pause (BkCopies *set, bool pause)
{
  set->paused = pause;
  for (unsigned i = 0; i < set->members->len; i++) {
    if (pause)
      bk_copy_pause (member_at (set, i)->copy);
    else
      bk_copy_resume (member_at (set, i)->copy);
  }
}

void
bk_copies_speed (BkCopies *set, uint64_t speed)
{
  bk_rate_set (set->rate, speed);
}

void
bk_copies_obey (BkCopies *set, BkJob *job)
{
  BkVerb verb;
  uint64_t value;
  while (bk_job_next_verb (job, &verb, &value)) {
    if (verb == BK_VERB_SPEED)
      bk_copies_speed (set, value);
    else
      bk_copies_pause (set, verb == BK_VERB_PAUSE);
  }
}

void
bk_copies_cancel (BkCopies *set, unsigned number)
{
  g_cancellable_cancel (member_at (set, number)->cancellable);
}

BkCopyCounters
bk_copies_counters (BkCopies *set, unsigned number)
{
  return bk_copy_counters (member_at (set, number)->copy);
}
