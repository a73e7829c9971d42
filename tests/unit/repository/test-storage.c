/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What every storage does: one list of tests, over a folder and over a store in memory.
 */
#include "memory-storage.h"
#include "suite.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KINDS 2

static char *folder;

static BkStorage *
open_storage (int kind)
{
  folder = bk_suite_folder ();
  if (kind == 1)
    return memory_storage_new ();
  g_autofree char *packs = g_build_filename (folder, "packs", NULL);
  ck_assert_int_eq (mkdir (packs, 0700), 0);
  return bk_file_storage_new (folder);
}

static void
must_put (BkStorage *storage, const char *name, const char *text)
{
  g_autoptr (GError) error = NULL;
  ck_assert_msg (bk_storage_put (storage, name, text, strlen (text), true, &error), "%s", error ? error->message : "");
}

static void
assert_holds (BkStorage *storage, const char *name, const char *wanted)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *data = NULL;
  size_t length = 0;
  if (wanted == NULL) {
    ck_assert (!bk_storage_has (storage, name));
    ck_assert (!bk_storage_get (storage, name, 100, &data, &length, &error));
    bk_assert_error (error, BK_ERROR_NOT_FOUND);
    return;
  }
  ck_assert (bk_storage_has (storage, name));
  ck_assert_msg (bk_storage_get (storage, name, 100, &data, &length, &error), "%s", error ? error->message : "");
  ck_assert_str_eq (data, wanted);
  ck_assert_uint_eq (length, strlen (wanted));
}

static int
compare_items (gconstpointer a, gconstpointer b)
{
  return strcmp ((*(BkStorageItem *const *)a)->name, (*(BkStorageItem *const *)b)->name);
}

/* "NAME:SIZE ..." in order; a folder is "NAME/". */
static void
assert_lists (BkStorage *storage, const char *name, const char *wanted)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GString) text = g_string_new (NULL);
  g_autoptr (GPtrArray) items = bk_storage_list (storage, name, &error);
  bk_assert_no_error (error);
  g_ptr_array_sort (items, compare_items);
  for (unsigned i = 0; i < items->len; i++) {
    const BkStorageItem *item = items->pdata[i];
    g_string_append (text, i ? " " : "");
    if (item->is_folder)
      g_string_append_printf (text, "%s/", item->name);
    else
      g_string_append_printf (text, "%s:%u", item->name, (unsigned)item->size);
  }
  ck_assert_str_eq (text->str, wanted);
}

START_TEST (objects_are_put_and_got)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkStorage) storage = open_storage (_i);
  g_autofree char *data = NULL;
  size_t length;
  assert_holds (storage, "backups/web01/B1", NULL);
  must_put (storage, "backups/web01/B1", "one");
  assert_holds (storage, "backups/web01/B1", "one");
  must_put (storage, "backups/web01/B1", "another");
  assert_holds (storage, "backups/web01/B1", "another");
  ck_assert (bk_storage_put (storage, "pins/web01/B1", "", 0, false, &error));
  assert_holds (storage, "pins/web01/B1", "");
  ck_assert (bk_storage_put (storage, "pins/web01/B1", "", 0, false, &error)); /* again */
  ck_assert (!bk_storage_get (storage, "backups/web01/B1", 6, &data, &length, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
}
END_TEST

START_TEST (parts_are_read)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkStorage) storage = open_storage (_i);
  char out[6] = "";
  must_put (storage, "packs/P", "0123456789");
  ck_assert (bk_storage_read (storage, "packs/P", 3, out, 5, &error));
  ck_assert_str_eq (out, "34567");
  ck_assert (!bk_storage_read (storage, "packs/P", 6, out, 5, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  ck_assert (!bk_storage_read (storage, "packs/Q", 0, out, 1, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
}
END_TEST

/* More than are kept open. */
START_TEST (parts_of_many_objects_are_read)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkStorage) storage = open_storage (_i);
  for (unsigned round = 0; round < 3; round++)
    for (unsigned i = 0; i < 300; i++) {
      g_autofree char *name = g_strdup_printf ("packs/%u", i), *text = g_strdup_printf ("%03u", i);
      char out[4] = "";
      if (round == 0)
        ck_assert (bk_storage_put (storage, name, text, 3, false, &error));
      ck_assert (bk_storage_read (storage, name, 0, out, 3, &error));
      ck_assert_str_eq (out, text);
    }
}
END_TEST

START_TEST (what_is_removed_is_gone)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkStorage) storage = open_storage (_i);
  char out[4] = "";
  must_put (storage, "packs/P", "old");
  ck_assert (bk_storage_read (storage, "packs/P", 0, out, 3, &error));
  ck_assert (bk_storage_remove (storage, "packs/P", &error));
  assert_holds (storage, "packs/P", NULL);
  ck_assert (!bk_storage_read (storage, "packs/P", 0, out, 3, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert (bk_storage_remove (storage, "packs/P", &error));
  bk_assert_no_error (error);
}
END_TEST

START_TEST (folders_are_listed)
{
  g_autoptr (BkStorage) storage = open_storage (_i);
  must_put (storage, "backups/web01/B1", "one");
  must_put (storage, "backups/web01/B2", "three");
  must_put (storage, "backups/db01/B1", "");
  assert_lists (storage, "backups", "db01/ web01/");
  assert_lists (storage, "backups/web01", "B1:3 B2:5");
  assert_lists (storage, "packs", "");
}
END_TEST

START_TEST (a_move_replaces_nothing)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkStorage) storage = open_storage (_i);
  must_put (storage, "backups/web01/B1", "one");
  ck_assert (bk_storage_move (storage, "backups/web01/B1", "trash/web01/B1.5", &error));
  assert_holds (storage, "backups/web01/B1", NULL);
  assert_holds (storage, "trash/web01/B1.5", "one");
  must_put (storage, "backups/web01/B1", "two");
  ck_assert (!bk_storage_move (storage, "trash/web01/B1.5", "backups/web01/B1", &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  assert_holds (storage, "backups/web01/B1", "two");
  assert_holds (storage, "trash/web01/B1.5", "one");
  ck_assert (!bk_storage_move (storage, "trash/web01/B2.5", "backups/web01/B2", &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
}
END_TEST

START_TEST (a_draft_is_seen_when_it_is_published)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkStorage) storage = open_storage (_i);
  g_autoptr (BkStorageDraft) draft = bk_storage_draft (storage, "packs/P", &error);
  char out[5] = "";
  ck_assert (bk_storage_draft_append (draft, "0123", 4, &error) && bk_storage_draft_append (draft, "4567", 4, &error));
  ck_assert (bk_storage_draft_read (draft, 2, out, 4, &error));
  ck_assert_str_eq (out, "2345");
  assert_lists (storage, "packs", "");
  ck_assert (bk_storage_draft_publish (draft, &error));
  assert_holds (storage, "packs/P", "01234567");
  ck_assert (bk_storage_draft_read (draft, 4, out, 4, &error));
  ck_assert_str_eq (out, "4567");

  g_autoptr (BkStorageDraft) second = bk_storage_draft (storage, "packs/P", &error);
  ck_assert (bk_storage_draft_append (second, "x", 1, &error));
  ck_assert (!bk_storage_draft_publish (second, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  assert_holds (storage, "packs/P", "01234567");
}
END_TEST

START_TEST (nothing_remains_of_a_draft_that_is_given_up)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkStorage) storage = open_storage (_i);
  BkStorageDraft *draft = bk_storage_draft (storage, "packs/P", &error);
  ck_assert (bk_storage_draft_append (draft, "0123", 4, &error));
  bk_storage_draft_free (draft);
  assert_lists (storage, "packs", "");
  g_autofree char *packs = g_build_filename (folder, "packs", NULL);
  g_autoptr (GDir) dir = g_dir_open (packs, 0, NULL);
  ck_assert (dir == NULL || g_dir_read_name (dir) == NULL);
}
END_TEST

/* --- of folders alone --- */

START_TEST (only_old_debris_is_tidied_up)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkStorage) storage = open_storage (0);
  uint64_t removed = 0;
  must_put (storage, "backups/web01/B1", "one");
  g_autofree char *debris = g_build_filename (folder, "backups/web01/.B2.tmp", NULL);
  ck_assert (g_file_set_contents (debris, "half", -1, NULL));
  ck_assert (bk_storage_tidy (storage, g_get_real_time () - G_TIME_SPAN_HOUR, &removed, &error));
  ck_assert_uint_eq (removed, 0);
  ck_assert (bk_storage_tidy (storage, g_get_real_time () + G_USEC_PER_SEC, &removed, &error));
  ck_assert_uint_eq (removed, 1);
  ck_assert (!g_file_test (debris, G_FILE_TEST_EXISTS));
  assert_holds (storage, "backups/web01/B1", "one");
}
END_TEST

START_TEST (a_folder_that_is_none_is_an_error)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkStorage) storage = open_storage (0);
  ck_assert_ptr_null (bk_storage_list (storage, "backups", &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  must_put (storage, "backups", "a file");
  ck_assert_ptr_null (bk_storage_list (storage, "backups", &error));
  bk_assert_error (error, BK_ERROR_FAILED);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("storage");
  TCase *each = tcase_create ("each kind"), *folders = tcase_create ("folders");
  tcase_set_timeout (each, 60);
  const TTest *const tests[] = { objects_are_put_and_got, parts_are_read, parts_of_many_objects_are_read, what_is_removed_is_gone, folders_are_listed,
                                 a_move_replaces_nothing, a_draft_is_seen_when_it_is_published, nothing_remains_of_a_draft_that_is_given_up };
  for (size_t i = 0; i < G_N_ELEMENTS (tests); i++)
    tcase_add_loop_test (each, tests[i], 0, KINDS);
  tcase_add_test (folders, only_old_debris_is_tidied_up);
  tcase_add_test (folders, a_folder_that_is_none_is_an_error);
  suite_add_tcase (suite, each);
  suite_add_tcase (suite, folders);
  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_ENV);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed ? 1 : 0;
}
