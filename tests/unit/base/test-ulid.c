/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "suite.h"
#include "ulid.h"

#include <stdint.h>
#include <string.h>

START_TEST (has_letters_of_crockford)
{
  g_autofree char *id = bk_ulid_new ();
  ck_assert_uint_eq (strlen (id), 26);
  ck_assert_uint_eq (strspn (id, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), 26);
  ck_assert_int_lt (id[0], '8'); /* 130 bits hold 128 */
}
END_TEST

START_TEST (grows_in_one_process)
{
  g_autofree char *last = bk_ulid_new ();
  for (int i = 0; i < 20000; i++) {
    char *next = bk_ulid_new ();
    ck_assert_msg (strcmp (last, next) < 0, "'%s' is not greater than '%s'", next, last);
    g_free (last);
    last = next;
  }
}
END_TEST

static uint64_t
decode_time (const char *id)
{
  static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  uint64_t time = 0;
  for (int i = 0; i < 10; i++)
    time = time * 32 + (uint64_t)(strchr (alphabet, id[i]) - alphabet);
  return time;
}

START_TEST (starts_with_the_time)
{
  int64_t before = g_get_real_time () / 1000;
  g_autofree char *id = bk_ulid_new ();
  int64_t after = g_get_real_time () / 1000;
  ck_assert_int_ge ((int64_t)decode_time (id), before);
  ck_assert_int_le ((int64_t)decode_time (id), after);
}
END_TEST

static gpointer
make_many (gpointer data G_GNUC_UNUSED)
{
  GPtrArray *ids = g_ptr_array_new_with_free_func (g_free);
  for (int i = 0; i < 5000; i++)
    g_ptr_array_add (ids, bk_ulid_new ());
  return ids;
}

START_TEST (is_unique_over_threads)
{
  GThread *threads[4];
  g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new ("ulid", make_many, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (threads); i++) {
    g_autoptr (GPtrArray) ids = g_thread_join (threads[i]);
    for (unsigned j = 0; j < ids->len; j++)
      ck_assert (g_hash_table_add (seen, g_strdup (ids->pdata[j])));
  }
  ck_assert_uint_eq (g_hash_table_size (seen), 20000);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { has_letters_of_crockford, grows_in_one_process, starts_with_the_time,
                                 is_unique_over_threads, NULL };
  return bk_suite_run ("ulid", tests);
}
