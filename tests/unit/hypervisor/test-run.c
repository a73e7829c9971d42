/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run.h"
#include "suite.h"

#include <string.h>

/* Every member by name, so that neither a row of the table nor a field can be forgotten or mixed up. */
static const char run_text[] =
    "{ \"prefix\": \"bkd-1a2b3c-42\", \"mode\": \"push\", \"scratch\": \"/s\", \"speed\": 1, \"compress\": true, "
    "\"on_source_error\": \"stop\", \"on_target_error\": \"enospc\", \"offline\": true, \"watches\": [ \"w\" ], \"guest_running\": true, \"stops_guest\": true, "
    "\"pause_us\": 2, \"point_in_time\": 1795402320000001, \"qemu_version\": \"7.2.22\", \"disks\": [ { "
    "\"name\": \"vda\", \"index\": 3, \"qdev\": \"q\", \"root\": \"r\", \"node\": \"n\", \"format\": \"qcow2\", \"file\": \"f\", \"path\": \"/p\", "
    "\"size\": 4, \"level\": \"incremental\", \"reason\": \"why\", \"class_name\": \"db\", \"in_iothread\": true, \"sync\": \"bitmap\", \"base_bitmaps\": [ \"b1\", "
    "\"b2\" ], \"base_checkpoint\": \"c1\", \"checkpoint\": true, \"bitmap\": \"b3\", \"parent_bitmap\": \"b2\", "
    "\"parent_checkpoint\": \"c2\", \"persistent\": true, \"stale_bitmaps\": [ \"b0\" ], \"target_driver\": \"file\", "
    "\"target\": \"/t\", \"target_format\": \"qcow2\", \"parent_backup\": \"p\", \"backing\": \"..\\/p\", "
    "\"estimated\": 5, \"export_name\": \"x\", \"dirty_context\": \"d\", \"frozen_path\": \"/f\", \"canary_path\": \"/k\", \"map_export\": \"m\", "
    "\"state\": \"running\", \"error\": { \"code\": \"failed\", \"message\": \"m\" }, "
    "\"bytes_total\": 6, \"bytes_transferred\": 7, \"bytes_zero\": 8, \"bytes_stored\": 9, \"bytes_different\": 10, \"bytes_new\": 11 } ], "
    "\"agent\": \"unix:\\/q\", \"quiesce_mounts\": [ \"\\/m\" ], \"must_quiesce\": true, \"may_be_frozen\": true, \"quiesce\": { "
    "\"quiesced\": true, \"reason\": \"r\", \"file_systems\": 12, \"frozen_ms\": 13, \"thawed\": true }, "
    "\"export_folder\": \"/e\", \"export\": true, \"nbd_listen\": \"tcp:h:1\", \"tls\": \"/k\", \"nbd_address\": \"unix:/a\", "
    "\"nbd_tls\": \"psk\", \"nbd_server\": \"/s\" }";

static BkRun *
read_run (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) json = bk_json_parse (run_text, strlen (run_text), &error);
  bk_assert_no_error (error);
  BkRun *run = bk_struct_from_json (&bk_run_struct, json, &error);
  bk_assert_no_error (error);
  return run;
}

START_TEST (keeps_every_member)
{
  g_autoptr (BkRun) run = read_run ();
  g_autoptr (json_object) json = bk_struct_to_json (&bk_run_struct, run);
  g_autoptr (json_object) original = json_tokener_parse (run_text);
  ck_assert_str_eq (json_object_to_json_string (json), json_object_to_json_string (original));
  const BkRunDisk *disk = g_ptr_array_index (run->disks, 0);
  ck_assert (run->compress && run->offline && run->guest_running && run->stops_guest && disk->checkpoint && disk->persistent);
  ck_assert_int_eq (run->point_in_time, 1795402320000001LL);
  ck_assert_uint_eq (disk->index, 3);
  ck_assert_str_eq (disk->base_bitmaps[1], "b2");
  ck_assert_str_eq (disk->parent_checkpoint, "c2");
}
END_TEST

START_TEST (makes_names)
{
  g_autoptr (BkRun) run = read_run ();
  g_autofree char *scratch = bk_run_name (run, "sf", g_ptr_array_index (run->disks, 0));
  ck_assert_str_eq (scratch, "bkd-1a2b3c-42-sf3");
  g_autofree char *bitmap = bk_run_name (run, "inc", NULL);
  ck_assert_str_eq (bitmap, "bkd-1a2b3c-42-inc");
}
END_TEST

START_TEST (tells_the_modes_apart)
{
  g_autoptr (BkRun) run = read_run ();
  ck_assert (bk_run_is_snapshot (run) && !bk_run_is_pull (run));
  g_free (run->mode);
  run->mode = g_strdup ("pull");
  ck_assert (bk_run_is_snapshot (run) && bk_run_is_pull (run));
  g_free (run->mode);
  run->mode = g_strdup ("push-direct");
  ck_assert (!bk_run_is_snapshot (run) && !bk_run_is_pull (run));
}
END_TEST

static gpointer
count_up (gpointer data)
{
  for (uint64_t i = 1; i <= 200000; i++)
    bk_run_disk_set_progress (data, i, i);
  return NULL;
}

START_TEST (tells_progress_while_it_changes)
{
  BkRunDisk disk = { .bytes_total = 0 };
  GThread *writer = g_thread_new ("writer", count_up, &disk);
  uint64_t total = 0, transferred = 0;
  while (transferred < 200000) {
    bk_run_disk_progress (&disk, &total, &transferred);
    ck_assert_uint_le (transferred, total);
  }
  g_thread_join (writer);
  ck_assert_uint_eq (total, 200000);
}
END_TEST

START_TEST (keeps_the_first_failure)
{
  g_autoptr (BkRunDisk) disk = g_new0 (BkRunDisk, 1);
  g_autoptr (GError) first = g_error_new (BK_ERROR, BK_ERROR_NO_SPACE, "the target is full");
  g_autoptr (GError) second = g_error_new (BK_ERROR, BK_ERROR_FAILED, "cancelled by that");
  ck_assert (!bk_run_disk_has_failed (disk));
  disk->state = g_strdup ("running");
  ck_assert (!bk_run_disk_has_failed (disk));
  bk_run_disk_fail (disk, first);
  bk_run_disk_fail (disk, second);
  ck_assert (bk_run_disk_has_failed (disk));
  ck_assert_str_eq (disk->state, "failed");
  ck_assert_str_eq (disk->error->code, "no-space");
  ck_assert_str_eq (disk->error->message, "the target is full");
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { keeps_every_member, makes_names, tells_the_modes_apart, tells_progress_while_it_changes,
                                 keeps_the_first_failure, NULL };
  return bk_suite_run ("run", tests);
}
