/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "event-ring.h"
#include "suite.h"

static void
publish_many (BkEventRing *ring, unsigned count)
{
  for (unsigned i = 0; i < count; i++)
    bk_event_ring_publish (ring, "job", "web01", NULL, json_object_new_int64 ((int64_t)bk_event_ring_last (ring) + 1));
}

START_TEST (numbers_from_one)
{
  g_autoptr (BkEventRing) ring = bk_event_ring_new (4);
  gboolean lost = TRUE;
  ck_assert_uint_eq (bk_event_ring_last (ring), 0);
  ck_assert_ptr_null (bk_event_ring_next (ring, 0, &lost));
  ck_assert (!lost);
  ck_assert_uint_eq (bk_event_ring_publish (ring, "job", "web01", "J1", json_object_new_object ()), 1);
  ck_assert_uint_eq (bk_event_ring_publish (ring, "vm", NULL, NULL, NULL), 2);
  const BkEvent *event = bk_event_ring_next (ring, 0, &lost);
  ck_assert_uint_eq (event->id, 1);
  ck_assert_ptr_eq (event->type, g_intern_string ("job"));
  ck_assert_str_eq (event->vm, "web01");
  ck_assert_str_eq (event->job, "J1");
  ck_assert_int_gt (event->at, 0);
  ck_assert_uint_eq (bk_event_ring_next (ring, 1, &lost)->id, 2);
  ck_assert_ptr_null (bk_event_ring_next (ring, 2, &lost));
  ck_assert (!lost);
}
END_TEST

START_TEST (wraps_and_says_so)
{
  g_autoptr (BkEventRing) ring = bk_event_ring_new (4);
  gboolean lost = FALSE;
  publish_many (ring, 10); /* 7..10 are left */
  for (uint64_t after = 0; after < 10; after++) {
    const BkEvent *event = bk_event_ring_next (ring, after, &lost);
    uint64_t wanted = MAX (after + 1, 7);
    ck_assert_uint_eq (event->id, wanted);
    ck_assert_int_eq (json_object_get_int64 (event->body), (int64_t)wanted);
    ck_assert_msg (lost == (after < 6), "after %lu: lost is %d", after, lost);
  }
}
END_TEST

START_TEST (tells_a_reader_from_before_a_restart)
{
  g_autoptr (BkEventRing) ring = bk_event_ring_new (4);
  gboolean lost = FALSE;
  publish_many (ring, 3);
  ck_assert_ptr_null (bk_event_ring_next (ring, 500, &lost));
  ck_assert (lost);
  ck_assert_ptr_null (bk_event_ring_next (ring, UINT64_MAX, &lost));
  ck_assert (lost);
}
END_TEST

typedef struct {
  BkEventRing *ring;
  unsigned handle;    /* unsubscribed in the first call */
  unsigned publishes; /* how many to publish from the call */
  GString *heard;
} Listener;

static void
listen_once (const BkEvent *event, gpointer user_data)
{
  Listener *listener = user_data;
  g_string_append_printf (listener->heard, "%lu ", event->id);
  bk_event_ring_unsubscribe (listener->ring, listener->handle);
}

static void
listen_and_publish (const BkEvent *event, gpointer user_data)
{
  Listener *listener = user_data;
  for (; listener->publishes > 0; listener->publishes--)
    publish_many (listener->ring, 1);
  g_string_append_printf (listener->heard, "%lu ", event->id); /* still alive */
}

START_TEST (unsubscribes_inside_the_call)
{
  g_autoptr (BkEventRing) ring = bk_event_ring_new (2);
  g_autoptr (GString) once = g_string_new (NULL);
  g_autoptr (GString) always = g_string_new (NULL);
  Listener first = { ring, 0, 0, once };
  Listener second = { ring, 0, 0, always };
  first.handle = bk_event_ring_subscribe (ring, listen_once, &first);
  second.handle = bk_event_ring_subscribe (ring, listen_and_publish, &second);
  ck_assert_uint_gt (first.handle, 0);
  ck_assert_uint_ne (first.handle, second.handle);
  publish_many (ring, 3);
  ck_assert_str_eq (once->str, "1 ");
  ck_assert_str_eq (always->str, "1 2 3 ");
  bk_event_ring_unsubscribe (ring, second.handle);
  publish_many (ring, 1);
  ck_assert_str_eq (always->str, "1 2 3 ");
}
END_TEST

START_TEST (one_may_unsubscribe_another)
{
  g_autoptr (BkEventRing) ring = bk_event_ring_new (2);
  g_autoptr (GString) heard = g_string_new (NULL);
  g_autoptr (GString) other = g_string_new (NULL);
  Listener first = { ring, 0, 0, heard };
  Listener second = { ring, 0, 0, other };
  bk_event_ring_subscribe (ring, listen_once, &first);
  first.handle = bk_event_ring_subscribe (ring, listen_and_publish, &second);
  publish_many (ring, 2);
  ck_assert_str_eq (heard->str, "1 2 ");
  ck_assert_str_eq (other->str, "");
}
END_TEST

START_TEST (delivers_in_order_when_published_inside)
{
  g_autoptr (BkEventRing) ring = bk_event_ring_new (8);
  g_autoptr (GString) maker = g_string_new (NULL);
  g_autoptr (GString) other = g_string_new (NULL);
  Listener first = { ring, 0, 3, maker };
  Listener second = { ring, 0, 0, other };
  bk_event_ring_subscribe (ring, listen_and_publish, &first);
  bk_event_ring_subscribe (ring, listen_and_publish, &second);
  publish_many (ring, 1);
  ck_assert_str_eq (maker->str, "1 2 3 4 ");
  ck_assert_str_eq (other->str, "1 2 3 4 ");
}
END_TEST

START_TEST (keeps_the_event_of_the_call_alive)
{
  g_autoptr (BkEventRing) ring = bk_event_ring_new (1);
  g_autoptr (GString) heard = g_string_new (NULL);
  Listener listener = { ring, 0, 3, heard };
  bk_event_ring_subscribe (ring, listen_and_publish, &listener);
  publish_many (ring, 1);
  ck_assert_str_eq (heard->str, "1 4 ");
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { numbers_from_one,
                                 wraps_and_says_so,
                                 tells_a_reader_from_before_a_restart,
                                 unsubscribes_inside_the_call,
                                 one_may_unsubscribe_another,
                                 delivers_in_order_when_published_inside,
                                 keeps_the_event_of_the_call_alive,
                                 NULL };
  return bk_suite_run ("event-ring", tests);
}
