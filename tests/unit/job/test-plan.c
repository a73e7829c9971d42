/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plan-case.h"
#include "suite.h"

#include <string.h>

static char *
short_names (GStrv bitmaps)
{
  g_autofree char *all = bitmaps ? g_strjoinv (" ", bitmaps) : g_strdup ("");
  g_auto (GStrv) parts = g_strsplit (all, "bkd-" CASE_INSTANCE "-cp-", -1);
  return g_strjoinv ("", parts);
}

/* --- the level --- */

typedef struct {
  const char *what;
  PlanTexts texts;
  const char *level; /* NULL = INVALID */
  const char *reason; /* part of it, or of the error */
  const char *base, *bitmaps, *parent_backup; /* of an increment */
} LevelRow;

#define TWO "c1=b1 c2=b2"
#define TWO_BACKUPS "b1=full b2=incremental"

static const LevelRow level_rows[] = {
  { "nothing yet", { NULL }, "full", "first backup of this disk in repository 'default'" },
  { "one link", { NULL, "c1=b1", "b1=full", "c1:r" }, "incremental", "checkpoint 'c1' is intact", "c1", "c1", "b1" },
  { "two links", { NULL, TWO, TWO_BACKUPS, "c1 c2:r" }, "incremental", "'c2'", "c2", "c2", "b2" },
  { "older bitmap lost", { NULL, TWO, TWO_BACKUPS, "c2:r" }, "incremental", "'c2'", "c2", "c2", "b2" },
  { "newest bitmap lost", { NULL, TWO, TWO_BACKUPS, "c1" }, "full",
    "bitmap of checkpoint 'c2' is missing: the VM was not shut down cleanly, or its image was replaced" },
  { "newest inconsistent", { NULL, TWO, TWO_BACKUPS, "c1 c2:i" }, "full",
    "bitmap of checkpoint 'c2' is inconsistent: QEMU was killed or the host crashed" },
  { "newest busy", { NULL, TWO, TWO_BACKUPS, "c1 c2:rb" }, "full", "'c2' is in use by another operation" },
  { "newest stopped", { NULL, TWO, TWO_BACKUPS, "c1 c2" }, "full",
    "'c2' was changed from outside: it does not record" },
  { "newest not persistent any more", { NULL, TWO, TWO_BACKUPS, "c1 c2:rn" }, "full", "not persistent any more" },
  { "newest persistent now", { "vda:w", "c1=b1:n", "b1=full", "c1:r" }, "full", "it is persistent now" },
  { "older records, newest backup deleted", { NULL, TWO, "b1=full", "c1:r c2:r" }, "full",
    "'c1' was changed from outside: it records again" },
  { "older records, not needed", { NULL, TWO, TWO_BACKUPS, "c1:r c2:r" }, "incremental", "'c2'", "c2", "c2", "b2" },
  { "newest backup deleted", { NULL, TWO, "b1=full", "c1 c2:r" }, "incremental", "'c1'", "c1", "c1 c2", "b1" },
  { "newest backup deleted, older bitmap lost", { NULL, TWO, "b1=full", "c2:r" }, "full", "'c1' is missing" },
  { "all backups deleted", { NULL, TWO, "", "c1 c2:r" }, "full", "first backup of this disk" },
  { "disk failed in the newest backup", { NULL, TWO, "b1=full b2=incremental:f", "c1 c2:r" }, "incremental", "'c1'",
    "c1", "c1 c2", "b1" },
  { "disk failed in the only backup", { NULL, "c1=b1", "b1=full:f", "c1:r" }, "full", "first backup" },
  { "checkpoint without a backup between", { NULL, "c1=b1 c2=- c3=-", "b1=full", "c1 c2 c3:r" }, "incremental", "'c1'",
    "c1", "c1 c2 c3", "b1" },
  { "backups elsewhere between", { NULL, "c1=b1 c2=x2 c3=b3 c4=x4", "b1=full b3=incremental", "c1 c2 c3 c4:r" },
    "incremental", "'c3'", "c3", "c3 c4", "b3" },
  { "checkpoints of its backups deleted", { NULL, "c2=-", "b1=full", "c2:r" }, "full",
    "the backups of this disk in repository 'default' have no checkpoint any more" },
  { "gap", { NULL, "c1=b1 c2=-:g", "b1=full", "c1 c2:r" }, "full",
    "changes between checkpoint 'c1' and checkpoint 'c2' were not recorded" },
  { "gap further back", { NULL, "c1=b1 c2=b2:g c3=-", "b1=full b2=full", "c1 c2 c3:r" }, "incremental", "'c2'", "c2",
    "c2 c3", "b2" },
  { "undone checkpoint", { NULL, "c1=b1 c2=b2:p", "b1=full", "c1:r" }, "incremental", "'c1'", "c1", "c1", "b1" },
  { "checkpoint not undone", { NULL, "c1=b1 c2=b2:p", "b1=full", "c1 c2:r" }, "full",
    "checkpoint 'c2' of an unfinished job has taken part of the changes" },
  { "checkpoint not undone, new chain since", { NULL, "c1=b1 c2=b2:p c3=b3:g", "b1=full b3=full", "c1 c2:r c3:r" },
    "incremental", "'c3'", "c3", "c3", "b3" },
  { "checkpoint not undone inside the chain", { NULL, "c1=b1 c2=b2:p c3=-", "b1=full", "c1 c2:r c3:r" }, "full",
    "'c2' of an unfinished job" },
  { "shrunk", { NULL, "c1=b1:s", "b1=full", "c1:r" }, "full", "the disk shrank from 20.0 GiB to 10.0 GiB since" },
  { "shrunk, and grown again", { NULL, "c1=b1 c2=-:s", "b1=full", "c1 c2:r" }, "full", "shrank from 20.0 GiB" },
  { "shrunk before the base", { NULL, "c1=b1:s c2=b2", TWO_BACKUPS, "c1 c2:r" }, "incremental", "'c2'", "c2", "c2",
    "b2" },
  { "was smaller between", { NULL, "c1=b1 c2=-:t c3=-", "b1=full", "c1 c2 c3:r" }, "full",
    "the disk shrank from 10.0 GiB to 5.0 GiB since checkpoint 'c1'" },
  { "grown", { NULL, "c1=b1:t c2=-", "b1=full", "c1 c2:r" }, "incremental", "'c1'", "c1", "c1 c2", "b1" },
  { "was small when an undone job looked", { NULL, "c1=b1:s c2=b2:p c3=-:s", "b1=full", "c1 c3:r" }, "full",
    "shrank" },
  { "raw", { "vda:w", "c1=b1:n", "b1=full", "c1:rn" }, "incremental", "checkpoint 'c1' is intact, in memory until the VM stops", "c1", "c1", "b1" },
  { "raw, restarted", { "vda:w", "c1=b1:n", "b1=full", "" }, "full",
    "raw images cannot keep dirty bitmaps over a restart of the VM; the VM was restarted since" },
  { "qcow2 v2, restarted", { NULL, "c1=b1:n", "b1=full", "" }, "full", "could not be kept over a restart of the VM" },

  { "full", { NULL, TWO, TWO_BACKUPS, "c1 c2:r", "'level': 'full'" }, "full", "full was asked for" },
  { "incremental", { NULL, TWO, TWO_BACKUPS, "c1 c2:r", "'level': 'incremental'" }, "incremental", "'c2'", "c2", "c2",
    "b2" },
  { "incremental, broken", { NULL, TWO, TWO_BACKUPS, "c1", "'level': 'incremental'" }, NULL,
    "disk 'vda': no incremental backup is possible: bitmap of checkpoint 'c2' is missing" },
  { "incremental, first", { NULL, NULL, NULL, NULL, "'level': 'incremental'" }, NULL, "first backup of this disk" },
  { "differential", { NULL, "c1=b1 c2=b2 c3=b3", "b1=full b2=incremental b3=incremental", "c1 c2 c3:r",
    "'level': 'differential'" }, "differential", "checkpoint 'c1' of the last full backup is intact", "c1", "c1 c2 c3",
    "b1" },
  { "differential, two full", { NULL, "c1=b1 c2=b2 c3=b3", "b1=full b2=full b3=incremental", "c1 c2 c3:r",
    "'level': 'differential'" }, "differential", "'c2'", "c2", "c2 c3", "b2" },
  { "differential, no full", { NULL, "c2=b2", "b2=incremental", "c2:r", "'level': 'differential'" }, NULL,
    "repository 'default' holds no full backup of this disk" },
  { "differential, full out of reach", { NULL, TWO, TWO_BACKUPS, "c2:r", "'level': 'differential'" }, NULL,
    "bitmap of checkpoint 'c1' is missing" },
  { "differential, checkpoint of full deleted", { NULL, "c2=b2", TWO_BACKUPS, "c2:r", "'level': 'differential'" }, NULL,
    "the full backups of this disk in repository 'default' have no checkpoint any more" },
  { "since", { NULL, TWO, TWO_BACKUPS, "c1 c2:r", "'level': 'differential', 'since': 'c1'" }, "differential", "'c1'",
    "c1", "c1 c2", "b1" },
  { "since an increment", { NULL, TWO, TWO_BACKUPS, "c1 c2:r", "'level': 'differential', 'since': 'c2'" },
    "differential", "'c2'", "c2", "c2", "b2" },
  { "since with auto", { NULL, TWO, TWO_BACKUPS, "c1 c2:r", "'since': 'c1'" }, "differential", "'c1'", "c1", "c1 c2",
    "b1" },
  { "since with incremental", { NULL, TWO, TWO_BACKUPS, "c1 c2:r", "'level': 'incremental', 'since': 'c1'" },
    "differential", "'c1'", "c1", "c1 c2", "b1" },
  { "since a broken one", { NULL, TWO, TWO_BACKUPS, "c2:r", "'since': 'c1'" }, NULL, "'c1' is missing" },
  { "since a deleted backup", { NULL, TWO, "b2=full", "c1 c2:r", "'since': 'c1'" }, NULL,
    "checkpoint 'c1' has no backup of it in repository 'default'" },
  { "since one of another disk", { "vda vdb", TWO, TWO_BACKUPS, "c1 c2:r", "'since': 'c1', 'disks': ['vdb']" }, NULL,
    "disk 'vdb': no differential backup is possible: checkpoint 'c1' does not cover it" },
  { "since a provisional one", { NULL, "c1=b1 c2=b2:p", TWO_BACKUPS, "c1:r", "'since': 'c2'" }, NULL,
    "checkpoint 'c2' does not cover it" },

  { "target", { NULL, TWO, NULL, "c1 c2:r", "'target': '/t.qcow2'" }, "full", "target of its own" },
  { "target, incremental", { NULL, "c1=b1 c2=-", NULL, "c1 c2:r", "'target': '/t', 'level': 'incremental'" },
    "incremental", "'c2'", "c2", "c2" },
  { "target, since", { NULL, "c1=b1 c2=-", NULL, "c1 c2:r", "'target': '/t', 'since': 'c1'" }, "differential", "'c1'",
    "c1", "c1 c2" },
  { "target, incremental, no checkpoint", { NULL, NULL, NULL, NULL, "'target': '/t', 'level': 'incremental'" }, NULL,
    "it has no checkpoint yet" },
  { "target, incremental, broken", { NULL, TWO, NULL, "c1", "'target': '/t', 'level': 'incremental'" }, NULL,
    "'c2' is missing" },
  { "read-only", { "vda:r", NULL, "b1=full", NULL, "'disks': ['vda']" }, "full", "read-only" },
};

static void
check_increment (const LevelRow *row, const BkRunDisk *disk)
{
  ck_assert_msg (g_strcmp0 (disk->sync, "bitmap") == 0, "%s: sync is %s", row->what, disk->sync);
  ck_assert_msg (g_strcmp0 (disk->base_checkpoint, row->base) == 0, "%s: base is %s", row->what, disk->base_checkpoint);
  g_autofree char *bitmaps = short_names (disk->base_bitmaps);
  ck_assert_msg (g_strcmp0 (bitmaps, row->bitmaps) == 0, "%s: bitmaps are %s", row->what, bitmaps);
  ck_assert_msg (g_strcmp0 (disk->parent_backup, row->parent_backup) == 0, "%s: parent backup is %s", row->what,
                 disk->parent_backup);
  ck_assert_uint_eq (disk->estimated, g_strv_length (disk->base_bitmaps) * CASE_DIRTY);
}

static void
check_full (const LevelRow *row, const BkRunDisk *disk)
{
  ck_assert_msg (g_strcmp0 (disk->sync, "full") == 0, "%s: sync is %s", row->what, disk->sync);
  ck_assert_ptr_null (disk->base_checkpoint);
  ck_assert_ptr_null (disk->parent_backup);
  ck_assert (disk->base_bitmaps == NULL || disk->base_bitmaps[0] == NULL);
  ck_assert_uint_eq (disk->estimated, CASE_SIZE);
}

static void
check_level (const LevelRow *row)
{
  g_autoptr (PlanCase) plan_case = plan_case_new (&row->texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  if (row->level == NULL) {
    ck_assert_msg (run == NULL && error, "%s: was planned", row->what);
    ck_assert_msg (strstr (error->message, row->reason) != NULL, "%s: %s", row->what, error->message);
    bk_assert_error (error, BK_ERROR_INVALID);
    return;
  }
  bk_assert_no_error (error);
  ck_assert_uint_eq (run->disks->len, 1);
  const BkRunDisk *disk = run->disks->pdata[0];
  ck_assert_msg (g_strcmp0 (disk->level, row->level) == 0, "%s: %s (%s)", row->what, disk->level, disk->reason);
  ck_assert_msg (strstr (disk->reason, row->reason) != NULL, "%s: %s", row->what, disk->reason);
  if (row->base)
    check_increment (row, disk);
  else
    check_full (row, disk);
}

START_TEST (decides_the_level)
{
  for (size_t i = 0; i < G_N_ELEMENTS (level_rows); i++)
    check_level (&level_rows[i]);
}
END_TEST

START_TEST (estimates_no_more_than_the_size)
{
  static const PlanTexts texts = { NULL, "c1=b1 c2=-", "b1=full", "c1 c2:r" };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  BkDisk *disk = plan_case_disk (plan_case, "vda");
  for (unsigned i = 0; i < disk->bitmaps->len; i++)
    ((BkBitmap *)disk->bitmaps->pdata[i])->count = CASE_SIZE - 1;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (((BkRunDisk *)run->disks->pdata[0])->estimated, CASE_SIZE);
}
END_TEST

/* "virtio0" is the first disk, whichever that is: vda now has the image that vdb had. */
START_TEST (notices_that_disks_changed_names)
{
  static const PlanTexts texts = { NULL, "c1=b1", "b1=full", "c1:r" };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  BkBackupInfo *backup = plan_case->input.backups->pdata[0];
  BkBackupDisk *other = bk_struct_copy (&bk_backup_disk_struct, backup->disks->pdata[0]);
  g_ptr_array_add (backup->disks, other);
  g_free (other->name);
  other->name = g_strdup ("vdb");
  g_free (other->source_file);
  other->source_file = g_strdup ("/images/other.img");
  BkDisk *disk = plan_case_disk (plan_case, "vda");
  g_free (disk->file);
  disk->file = g_strdup ("/images/moved.img");
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) moved = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (((BkRunDisk *)moved->disks->pdata[0])->level, "incremental");
  g_free (disk->file);
  disk->file = g_strdup ("/images/other.img");
  g_autoptr (BkRun) swapped = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  const BkRunDisk *planned = swapped->disks->pdata[0];
  ck_assert_str_eq (planned->level, "full");
  ck_assert_str_eq (planned->reason,
                    "its image '/images/other.img' was that of disk 'vdb' when checkpoint 'c1' was made");
}
END_TEST

/* --- the checkpoint to come --- */

typedef struct {
  const char *what;
  PlanTexts texts;
  bool checkpoint, persistent;
  const char *parent; /* checkpoint */
  const char *stale;  /* bitmaps */
} CheckpointRow;

static const CheckpointRow checkpoint_rows[] = {
  { "first", { NULL }, true, true, NULL, "" },
  { "raw", { "vda:w" }, true, false, NULL, "" },
  { "read-only", { "vda:r", TWO, TWO_BACKUPS, "c1:i c2:r", "'disks': ['vda']" }, false, false, NULL, "" },
  { "after another", { NULL, TWO, TWO_BACKUPS, "c1 c2:r" }, true, true, "c2", "" },
  { "also for full", { NULL, TWO, TWO_BACKUPS, "c1 c2:r", "'level': 'full'" }, true, true, "c2", "" },
  { "also with a target", { NULL, TWO, NULL, "c1 c2:r", "'target': '/t'" }, true, true, "c2", "" },
  { "undone since", { NULL, "c1=b1 c2=-:p", "b1=full", "c1:r" }, true, true, "c1", "" },
  { "missing", { NULL, TWO, TWO_BACKUPS, "c1" }, true, true, NULL, "" },
  { "missing, older records", { NULL, TWO, TWO_BACKUPS, "c1:r" }, true, true, NULL, "" },
  { "stopped", { NULL, TWO, TWO_BACKUPS, "c1 c2" }, true, true, NULL, "" },
  { "busy", { NULL, TWO, TWO_BACKUPS, "c1 c2:rb" }, true, true, NULL, "" },
  { "crashed", { NULL, TWO, TWO_BACKUPS, "c1:i c2:i" }, true, true, NULL, "c1 c2" },
  { "crashed, and says that it records", { NULL, TWO, TWO_BACKUPS, "c1 c2:ri" }, true, true, NULL, "c2" },
  { "crashed long ago", { NULL, "c1=b1 c2=b2:g", TWO_BACKUPS, "c1:i c2:r" }, true, true, "c2", "c1" },
  { "forgotten ones", { NULL, NULL, NULL, "c7:i c8:r" }, true, true, NULL, "c7 c8" },
  { "of others", { NULL, NULL, NULL, "foreign:i foreign2:r" }, true, true, NULL, "" },
  { "of an earlier catalog", { NULL, "foreign=b1", "b1=full", "foreign:i" }, true, true, NULL, "foreign" },
};

static void
check_checkpoint (const CheckpointRow *row)
{
  g_autoptr (PlanCase) plan_case = plan_case_new (&row->texts);
  if (strcmp (row->what, "of an earlier catalog") == 0) {
    BkCheckpointInfo *checkpoint = plan_case->input.checkpoints->pdata[0];
    BkCheckpointDisk *entry = checkpoint->disks->pdata[0];
    g_free (entry->bitmap);
    entry->bitmap = g_strdup ("foreign");
  }
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  const BkRunDisk *disk = run->disks->pdata[0];
  ck_assert_msg (disk->checkpoint == row->checkpoint && disk->persistent == row->persistent, "%s", row->what);
  ck_assert_msg (g_strcmp0 (disk->parent_checkpoint, row->parent) == 0, "%s: %s", row->what, disk->parent_checkpoint);
  g_autofree char *bitmap = row->parent ? g_strdup_printf ("bkd-" CASE_INSTANCE "-cp-%s", row->parent) : NULL;
  ck_assert_msg (g_strcmp0 (disk->parent_bitmap, bitmap) == 0, "%s: %s", row->what, disk->parent_bitmap);
  g_autofree char *stale = short_names (disk->stale_bitmaps);
  ck_assert_msg (strcmp (stale, row->stale) == 0, "%s: stale are %s", row->what, stale);
}

START_TEST (plans_the_checkpoint)
{
  for (size_t i = 0; i < G_N_ELEMENTS (checkpoint_rows); i++)
    check_checkpoint (&checkpoint_rows[i]);
}
END_TEST

/* --- the request --- */

typedef struct {
  const char *request;
  const char *disks;
  BkErrorCode code;
  const char *message; /* part of it */
} RefusalRow;

static const RefusalRow refusal_rows[] = {
  { "'repository': 'a', 'target': '/t'", NULL, BK_ERROR_INVALID, "repository and target exclude each other" },
  { "'level': 'full', 'since': 'c1'", NULL, BK_ERROR_INVALID, "since does not go with level full" },
  { "'since': 'c9'", NULL, BK_ERROR_NOT_FOUND, "no checkpoint 'c9'; there are: c1, c2" },
  { "'since': 'c'", NULL, BK_ERROR_INVALID, "checkpoint 'c' is ambiguous: c1, c2" },
  { "'since': ''", NULL, BK_ERROR_NOT_FOUND, "no checkpoint ''" },
  { "'sync': 'top'", NULL, BK_ERROR_INVALID, "not restorable" },
  { "'sync': 'top', 'target': '/t', 'level': 'incremental'", NULL, BK_ERROR_INVALID, "level auto or full only" },
  { "'sync': 'top', 'target': '/t', 'level': 'differential'", NULL, BK_ERROR_INVALID, "level auto or full only" },
  { "'sync': 'top', 'target': '/t', 'since': 'c1'", NULL, BK_ERROR_INVALID, "without since" },
  { "'sync': 'top', 'target': '/t'", "vda", BK_ERROR_INVALID, "disk 'vda' has no backing file" },
  { "'sync': 'none', 'target': '/t'", NULL, BK_ERROR_INVALID, "export" },
  { "'format': 'raw'", NULL, BK_ERROR_INVALID, "format raw does not go with a repository" },
  { "'compress': true, 'target': '/t', 'format': 'raw'", NULL, BK_ERROR_INVALID, "compress" },
  { "'compress': true, 'target': 'nbd://h/e'", NULL, BK_ERROR_INVALID, "compress" },
  { "'quiesce': 'none', 'quiesce_mounts': ['/']", NULL, BK_ERROR_INVALID, "quiesce auto or agent" },
  { "'quiesce_mounts': ['/', '']", NULL, BK_ERROR_INVALID, "mount points in the guest" },
  { "'mode': 'pull'", NULL, BK_ERROR_INVALID, "repository 'default', which is of type qcow2" },
  { "'on_source_error': 'stop'", NULL, BK_ERROR_INVALID, "push-direct only" },
  { "'on_target_error': 'enospc'", NULL, BK_ERROR_INVALID, "on_target_error 'enospc' goes with mode push-direct only" },
  { "'on_target_error': 'stop', 'mode': 'push'", NULL, BK_ERROR_INVALID, "push-direct only" },
  { "'target': 'backup.qcow2'", NULL, BK_ERROR_INVALID, "absolute path" },
  { "'target': 'http://h/x'", NULL, BK_ERROR_INVALID, "absolute path" },
  { "'target': ''", NULL, BK_ERROR_INVALID, "absolute path" },
  { "'target': 'nbd://h/e'", "vda vdb", BK_ERROR_INVALID, "{disk}" },
  { "'target': '/t', 'level': 'differential'", NULL, BK_ERROR_INVALID, "needs since" },
  { "'disks': ['vdx']", NULL, BK_ERROR_NOT_FOUND, "vdx" },
  { "'disks': ['vda', 'vda']", NULL, BK_ERROR_INVALID, "disk 'vda' is named twice" },
  { "'disks': ['vda', 'node-vda']", NULL, BK_ERROR_INVALID, "the second time as 'node-vda'" },
  { "'disks': ['vda', 'cd']", "vda cd:rme", BK_ERROR_INVALID, "disk 'cd' has no medium" },
  { "'disks': []", "cd:rme ro:r usb:m", BK_ERROR_INVALID,
    "no writable disk with a medium; name the disks to back up (there are: cd, ro, usb)" },
  { NULL, "", BK_ERROR_INVALID, "has no disks" },
};

static void
check_refusal (const RefusalRow *row)
{
  PlanTexts texts = { row->disks ? row->disks : "vda:b", TWO, TWO_BACKUPS, NULL, row->request };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  ck_assert_msg (run == NULL && error, "%s: was planned", row->request);
  ck_assert_msg (strstr (error->message, row->message) != NULL, "%s: %s", row->request, error->message);
  bk_assert_error (error, row->code);
}

START_TEST (refuses_what_cannot_be)
{
  for (size_t i = 0; i < G_N_ELEMENTS (refusal_rows); i++)
    check_refusal (&refusal_rows[i]);
}
END_TEST

START_TEST (refuses_words_that_do_not_exist)
{
  static const PlanTexts texts = { NULL };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  plan_case->request->level = g_strdup ("partly");
  g_autoptr (GError) error = NULL;
  ck_assert_ptr_null (plan_case_plan (plan_case, &error));
  ck_assert_str_eq (error->message,
                    "level 'partly' does not exist; choose one of: auto, full, incremental, differential");
  bk_assert_error (error, BK_ERROR_INVALID);
}
END_TEST

START_TEST (takes_what_can_be)
{
  static const char *const requests[] = {
    "'quiesce': 'none'", "'quiesce': 'auto'", "'quiesce': 'agent', 'quiesce_mounts': ['/', 'C:\\\\']", "'repository': 'default'", "'format': 'qcow2'", "'compress': true",
    "'on_target_error': 'report', 'on_source_error': 'report'", "'target': '/t', 'format': 'raw'",
    "'target': '/t', 'compress': true", "'target': 'nbd+unix:///vda?socket=/run/x'", "'sync': 'full'",
    "'on_target_error': 'enospc', 'on_source_error': 'stop', 'mode': 'push-direct'",
    "'kind': 'backup', 'disks': ['node-vda']",
  };
  for (size_t i = 0; i < G_N_ELEMENTS (requests); i++) {
    PlanTexts texts = { NULL, NULL, NULL, NULL, requests[i] };
    g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
    g_autoptr (GError) error = NULL;
    g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
    ck_assert_msg (run != NULL, "%s: %s", requests[i], error ? error->message : "");
    ck_assert_str_eq (((BkRunDisk *)run->disks->pdata[0])->name, "vda");
  }
}
END_TEST

START_TEST (copies_the_top_image_alone)
{
  for (int direct = 0; direct < 2; direct++) {
    PlanTexts texts = { "vda:b", TWO, NULL, "c1 c2:r",
                        direct ? "'sync': 'top', 'target': '/t', 'mode': 'push-direct'"
                               : "'sync': 'top', 'target': '/t', 'mode': 'push', 'level': 'full'" };
    g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
    g_autoptr (GError) error = NULL;
    g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
    bk_assert_no_error (error);
    const BkRunDisk *disk = run->disks->pdata[0];
    ck_assert_str_eq (disk->sync, "top");
    ck_assert_str_eq (disk->level, "full");
  ck_assert_str_eq (run->mode, "push-direct"); /* whatever was asked for: a snapshot cannot be trusted with it */
  }
}
END_TEST

START_TEST (finds_since_by_name_and_prefix)
{
  static const struct {
    const char *since, *base;
  } rows[] = { { "01JA", "01JA" }, { "01JAB", "01JAB" }, { "01JB", "01JBX" }, { "before-upgrade", "01JBX" } };
  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++) {
    g_autofree char *request = g_strdup_printf ("'since': '%s'", rows[i].since);
    PlanTexts texts = { NULL, "01JA=b1 01JAB=b2 01JBX=b3", "b1=full b2=full b3=full", "01JA 01JAB 01JBX:r", request };
    g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
    ((BkCheckpointInfo *)plan_case->input.checkpoints->pdata[2])->name = g_strdup ("before-upgrade");
    g_autoptr (GError) error = NULL;
    g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
    bk_assert_no_error (error);
    ck_assert_str_eq (((BkRunDisk *)run->disks->pdata[0])->base_checkpoint, rows[i].base);
  }
}
END_TEST

/* --- disks and mode --- */

START_TEST (selects_writable_disks_with_a_medium)
{
  static const PlanTexts texts = { "vda cd:rme ro:r usb:m vdb:w" };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (run->disks->len, 2);
  const BkRunDisk *second = run->disks->pdata[1];
  ck_assert_str_eq (second->name, "vdb");
  ck_assert_uint_eq (second->index, 1);
  ck_assert_str_eq (second->qdev, "/machine/peripheral/vdb/virtio-backend");
  ck_assert_str_eq (second->root, "root-vdb");
  ck_assert_str_eq (second->node, "node-vdb");
  ck_assert_str_eq (second->format, "raw");
  ck_assert_uint_eq (second->size, CASE_SIZE);
  ck_assert_str_eq (second->state, "planned");
}
END_TEST

START_TEST (keeps_the_order_that_was_asked_for)
{
  static const PlanTexts texts = { "vda vdb ro:r", NULL, NULL, NULL, "'disks': ['ro', 'vdb']" };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (run->disks->len, 2);
  ck_assert_str_eq (((BkRunDisk *)run->disks->pdata[0])->name, "ro");
  ck_assert_str_eq (((BkRunDisk *)run->disks->pdata[1])->name, "vdb");
}
END_TEST

START_TEST (goes_full_for_the_broken_disk_alone)
{
  static const PlanTexts texts = { "vdb vda", "c1=b1", "b1=full", "c1:r" };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (((BkRunDisk *)run->disks->pdata[0])->level, "full");
  ck_assert_str_eq (((BkRunDisk *)run->disks->pdata[1])->level, "incremental");
}
END_TEST

/* --- pull --- */

#define PULL(...) { __VA_ARGS__, .dedup = true }

static const LevelRow dedup_rows[] = {
  { "nothing yet", PULL (NULL), "full", "first backup of this disk in repository 'default'" },
  { "increment", PULL (NULL, TWO, TWO_BACKUPS, "c1 c2:r"), "incremental", "checkpoint 'c2' is intact", "c2", "c2", "b2" },
  { "newest backup deleted", PULL (NULL, TWO, "b1=full", "c1 c2:r"), "incremental", "'c1'", "c1", "c1 c2", "b1" },
  { "increment on a copy", PULL (NULL, TWO, "k1<b1=full k2<b2=incremental", "c1 c2:r"), "incremental", "checkpoint 'c2' is intact", "c2", "c2", "k2" },
  { "only the older is copied", PULL (NULL, TWO, "k1<b1=full", "c1 c2:r"), "incremental", "'c1'", "c1", "c1 c2", "k1" },
  { "no bitmap", PULL (NULL, TWO, TWO_BACKUPS, "c1"), "full", "'c2' is missing", NULL, NULL, "b2" },
  { "full asked for", PULL (NULL, TWO, TWO_BACKUPS, "c1 c2:r", "'level': 'full'"), "full", "full was asked for", NULL, NULL, "b2" },
  { "raw, restarted", PULL ("vda:w", "c1=b1:n", "b1=full", ""), "full", "raw images cannot keep", NULL, NULL, "b1" },
  { "disk failed in the newest", PULL (NULL, TWO, "b1=full b2=full:f", "c1"), "full", "'c2' is missing", NULL, NULL, "b1" },
  { "base damaged", PULL (NULL, TWO, "b1=full b2=incremental:d", "c1 c2:r"), "full", "backup 'b2' is damaged, and heals when all of the disk is read",
    NULL, NULL, "b1" },
  { "all damaged", PULL (NULL, "c1=b1", "b1=full:d", "c1:r"), "full", "backup 'b1' is damaged" },
  { "read-only", PULL ("vda:r", NULL, "b1=full", NULL, "'disks': ['vda']"), "full", "read-only", NULL, NULL, "b1" },
  { "differential", PULL (NULL, TWO, TWO_BACKUPS, "c1 c2:r", "'level': 'differential'"), "differential", "'c1'", "c1", "c1 c2", "b1" },
  { "incremental, broken", PULL (NULL, TWO, TWO_BACKUPS, "c1", "'level': 'incremental'"), NULL, "bitmap of checkpoint 'c2' is missing" },
};

static void
check_dedup (const LevelRow *row)
{
  g_autoptr (PlanCase) plan_case = plan_case_new (&row->texts);
  g_autoptr (GError) error = NULL;
  g_autofree char *mode_reason = NULL;
  g_autoptr (BkRun) run = bk_plan_backup (&plan_case->input, &mode_reason, &error);
  if (row->level == NULL) {
    ck_assert_msg (run == NULL && error && strstr (error->message, row->reason), "%s: %s", row->what, error ? error->message : "was planned");
    bk_assert_error (error, BK_ERROR_INVALID);
    return;
  }
  bk_assert_no_error (error);
  const BkRunDisk *disk = run->disks->pdata[0];
  ck_assert_str_eq (run->mode, "pull");
  ck_assert_str_eq (mode_reason, "repository 'default' is of type dedup");
  ck_assert_str_eq (run->scratch, "/scratch");
  ck_assert_str_eq (run->export_folder, "/run/exports");
  ck_assert_msg (g_strcmp0 (disk->level, row->level) == 0, "%s: %s (%s)", row->what, disk->level, disk->reason);
  ck_assert_msg (strstr (disk->reason, row->reason) != NULL, "%s: %s", row->what, disk->reason);
  ck_assert_msg (g_strcmp0 (disk->parent_backup, row->parent_backup) == 0, "%s: compared with %s", row->what, disk->parent_backup);
  ck_assert_msg (g_strcmp0 (disk->sync, row->base ? "bitmap" : "full") == 0, "%s: sync is %s", row->what, disk->sync);
  g_autofree char *bitmaps = short_names (disk->base_bitmaps);
  ck_assert_msg (strcmp (bitmaps, row->bitmaps ? row->bitmaps : "") == 0, "%s: bitmaps are %s", row->what, bitmaps);
  ck_assert (bk_plan_name (run, plan_case->request, CASE_INSTANCE, 7, "/repo/backups/web01/B", &error));
  ck_assert (disk->target == NULL && disk->backing == NULL);
}

START_TEST (decides_the_level_in_a_dedup_repository)
{
  for (size_t i = 0; i < G_N_ELEMENTS (dedup_rows); i++)
    check_dedup (&dedup_rows[i]);
}
END_TEST

typedef struct {
  const char *request;
  bool dedup, scratch;
  const char *mode; /* NULL: refused */
  const char *reason;
  BkErrorCode code;
} PullRow;

static const PullRow pull_rows[] = {
  { NULL, true, true, "pull", "repository 'default' is of type dedup" },
  { "'mode': 'auto'", true, true, "pull", "is of type dedup" },
  { "'mode': 'pull'", true, true, "pull", NULL },
  { "'mode': 'pull', 'target': '/t', 'format': 'raw'", false, true, "pull", NULL },
  { "'mode': 'pull', 'target': 'nbd://h/e'", false, true, "pull", NULL },
  { "'target': '/t'", false, true, "push", "does not wait" },
  { "'mode': 'push'", true, true, NULL, "mode 'push' does not go with repository 'default', which is of type dedup", BK_ERROR_INVALID },
  { "'mode': 'push-direct'", true, true, NULL, "use mode pull, or a repository of type qcow2", BK_ERROR_INVALID },
  { "'mode': 'pull'", false, true, NULL, "which is of type qcow2", BK_ERROR_INVALID },
  { NULL, true, false, NULL, "scratch space while it reads, and the scratch folder is gone", BK_ERROR_NO_SPACE },
  { "'mode': 'pull', 'target': '/t', 'level': 'incremental'", false, true, NULL, "full copies only to a target", BK_ERROR_INVALID },
  { "'mode': 'pull', 'target': '/t', 'since': 'c1'", false, true, NULL, "full copies only to a target", BK_ERROR_INVALID },
  { "'mode': 'pull', 'target': '/t', 'compress': true", false, true, NULL, "compress goes with mode push", BK_ERROR_INVALID },
  { "'compress': true", true, true, NULL, "/compress: repository 'default' is of type dedup", BK_ERROR_INVALID },
  { "'mode': 'pull', 'target': '/t', 'sync': 'top'", false, true, NULL, "sync 'top' goes with mode push-direct", BK_ERROR_INVALID },
  { "'on_target_error': 'stop'", true, true, NULL, "push-direct only", BK_ERROR_INVALID },
};

static void
check_pull (const PullRow *row)
{
  PlanTexts texts = { .request = row->request, .dedup = row->dedup };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  plan_case->input.scratch = row->scratch ? "/scratch" : NULL;
  plan_case->input.no_scratch = "the scratch folder is gone";
  g_autofree char *reason = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = bk_plan_backup (&plan_case->input, &reason, &error);
  if (row->mode == NULL) {
    ck_assert_msg (run == NULL && error && strstr (error->message, row->reason), "%s: %s", row->request, error ? error->message : "was planned");
    bk_assert_error (error, row->code);
    return;
  }
  bk_assert_no_error (error);
  ck_assert_str_eq (run->mode, row->mode);
  ck_assert_msg (row->reason ? reason && strstr (reason, row->reason) : reason == NULL, "%s: %s", row->request, reason);
}

START_TEST (does_not_pull_what_the_hypervisor_cannot)
{
  static const PlanTexts texts = { "vda vdb", .dedup = true };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  plan_case_disk (plan_case, "vdb")->no_pull = g_strdup ("it is in an iothread");
  ck_assert_ptr_null (plan_case_plan (plan_case, &error));
  ck_assert_ptr_nonnull (strstr (error->message, "disk 'vdb' cannot be pulled: it is in an iothread; back it up with mode push"));
  bk_assert_error (error, BK_ERROR_INVALID);
  plan_case->vm.pull = false;
  ck_assert_ptr_null (plan_case_plan (plan_case, &error));
  ck_assert_ptr_nonnull (strstr (error->message, "this VM cannot be pulled"));
  bk_assert_error (error, BK_ERROR_INVALID);
}
END_TEST

START_TEST (pulls_into_a_dedup_repository_alone)
{
  for (size_t i = 0; i < G_N_ELEMENTS (pull_rows); i++)
    check_pull (&pull_rows[i]);
}
END_TEST

typedef struct {
  const char *asked; /* NULL = not said */
  bool possible, scratch;
  const char *mode, *reason;
} ModeRow;

static const ModeRow mode_rows[] = {
  { NULL, true, true, "push", "the guest does not wait for the target" },
  { "auto", true, true, "push", "the guest does not wait for the target" },
  { "push", true, true, "push", NULL },
  { "push-direct", true, true, "push-direct", NULL },
  { NULL, false, true, "push-direct", "this QEMU (7.2.22) cannot push from a snapshot" },
  { "push", false, false, "push-direct", "this QEMU (7.2.22) cannot push from a snapshot" },
  { "push", true, false, "push-direct", "the scratch folder is gone" },
  { "push-direct", false, false, "push-direct", NULL },
};

static void
check_mode (const ModeRow *row)
{
  static const PlanTexts texts = { "vda vdb" };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  plan_case->request->mode = g_strdup (row->asked);
  plan_case->request->speed = 4096;
  plan_case->request->compress = true;
  plan_case->vm.snapshot_push = row->possible;
  plan_case->input.scratch = row->scratch ? "/scratch" : NULL;
  plan_case->input.no_scratch = "the scratch folder is gone";
  g_autofree char *reason = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = bk_plan_backup (&plan_case->input, &reason, &error);
  bk_assert_no_error (error);
  bool snapshot = strcmp (row->mode, "push") == 0;
  ck_assert_str_eq (run->mode, row->mode);
  ck_assert_msg (row->reason ? reason && strstr (reason, row->reason) : reason == NULL, "%s", reason);
  ck_assert_pstr_eq (run->scratch, snapshot ? "/scratch" : NULL);
  ck_assert (run->stops_guest == snapshot);
  ck_assert_uint_eq (run->speed, 4096);
  ck_assert (run->compress);
  ck_assert_str_eq (run->on_source_error, "report");
  ck_assert_str_eq (run->on_target_error, "report");
  ck_assert_str_eq (run->qemu_version, "7.2.22");
}

START_TEST (chooses_the_mode)
{
  for (size_t i = 0; i < G_N_ELEMENTS (mode_rows); i++)
    check_mode (&mode_rows[i]);
}
END_TEST

START_TEST (does_not_stop_the_guest_for_one_disk)
{
  static const PlanTexts texts = { "vda" };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  ck_assert (!run->stops_guest);
}
END_TEST

/* --- shut off --- */

static PlanCase *
case_shut_off (const PlanTexts *texts)
{
  PlanCase *plan_case = plan_case_new (texts);
  plan_case->vm.offline = plan_case->vm.snapshot_push = plan_case->vm.pull = true;
  plan_case->vm.recorded_at = 1795402200000000;
  plan_case->input.scratch = NULL;
  plan_case->input.no_scratch = "the scratch folder is gone";
  return plan_case;
}

START_TEST (needs_no_scratch_when_it_is_shut_off)
{
  static const struct {
    PlanTexts texts;
    const char *mode, *reason;
  } rows[] = {
    { { "vda vdb" }, "push", "the VM is shut off: the images of the disks that it was seen with at 2026-11-23T02:50:00Z are read" },
    { { "vda vdb", NULL, NULL, NULL, "'mode': 'push-direct'" }, "push-direct", "the VM is shut off" },
    { { "vda vdb", NULL, NULL, NULL, NULL, .dedup = true }, "pull", "of ours; repository 'default' is of type dedup" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++) {
    g_autoptr (PlanCase) plan_case = case_shut_off (&rows[i].texts);
    g_autoptr (GError) error = NULL;
    g_autofree char *reason = NULL;
    g_autoptr (BkRun) run = bk_plan_backup (&plan_case->input, &reason, &error);
    bk_assert_no_error (error);
    ck_assert_str_eq (run->mode, rows[i].mode);
    ck_assert_msg (strstr (reason, rows[i].reason) != NULL, "%s", reason);
    ck_assert (run->offline && !run->stops_guest && run->scratch == NULL);
  }
}
END_TEST

/* A bitmap in memory needs somebody who runs; one that is in the image goes on. */
START_TEST (makes_checkpoints_in_images_alone_when_it_is_shut_off)
{
  static const PlanTexts texts = { "vda vdb:w", "c1=b1", "b1=full", "c1:r" };
  g_autoptr (PlanCase) plan_case = case_shut_off (&texts);
  plan_case_disk (plan_case, "vda")->path = g_strdup ("/vm/vda.qcow2");
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  const BkRunDisk *first = run->disks->pdata[0], *second = run->disks->pdata[1];
  ck_assert_str_eq (first->level, "incremental");
  ck_assert_str_eq (first->path, "/vm/vda.qcow2");
  ck_assert (first->checkpoint && first->persistent && first->parent_bitmap);
  ck_assert_str_eq (second->level, "full");
  ck_assert (!second->checkpoint && second->parent_bitmap == NULL && second->stale_bitmaps == NULL);
}
END_TEST

START_TEST (refuses_an_image_that_cannot_be_read)
{
  static const PlanTexts texts = { "vda vdb", NULL, NULL, NULL, NULL };
  g_autoptr (PlanCase) plan_case = case_shut_off (&texts);
  plan_case_disk (plan_case, "vdb")->no_access = g_strdup ("its image 'nbd://h/x' is no file or device of this machine");
  g_autoptr (GError) error = NULL;
  ck_assert_ptr_null (plan_case_plan (plan_case, &error));
  ck_assert_ptr_nonnull (strstr (error->message, "disk 'vdb' cannot be read while the VM is shut off: its image 'nbd://h/x'"));
  bk_assert_error (error, BK_ERROR_INVALID);
}
END_TEST

/* Where scratch is missing, auto ends up direct, and there error actions are fine. */
START_TEST (takes_error_actions_when_it_ends_up_direct)
{
  static const PlanTexts texts = { NULL, NULL, NULL, NULL, "'on_target_error': 'enospc', 'on_source_error': 'stop'" };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  plan_case->input.scratch = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (run->on_target_error, "enospc");
  ck_assert_str_eq (run->on_source_error, "stop");
}
END_TEST

/* As libvirt's are: each records since its checkpoint, beside the later ones. */
START_TEST (adds_nothing_to_a_bitmap_that_has_it_all)
{
  const PlanTexts texts = { "vda", "c1=b1 c2=b2 c3=-", "b1=full b2=incremental", "c1:c c2:c c3:c", "'since': 'c1'", false };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  const BkRunDisk *disk = run->disks->pdata[0];
  ck_assert_str_eq (disk->base_checkpoint, "c1");
  ck_assert_str_eq (disk->base_bitmaps[0], "bkd-" CASE_INSTANCE "-cp-c1");
  ck_assert_uint_eq (disk->estimated, CASE_DIRTY);
  ck_assert_str_eq (disk->parent_checkpoint, "c3");
}
END_TEST

START_TEST (makes_no_checkpoint_where_none_can_be)
{
  const PlanTexts texts = { "vda:wu", "", "b1=full", "", NULL, false };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  bk_assert_no_error (error);
  const BkRunDisk *disk = run->disks->pdata[0];
  ck_assert (!disk->checkpoint);
  ck_assert_str_eq (disk->level, "full");
  ck_assert_str_eq (disk->reason, "nobody tracks it");
}
END_TEST

START_TEST (tells_why_it_is_not_possible_now)
{
  const PlanTexts texts = { "vda", "", "", "", NULL, false };
  g_autoptr (PlanCase) plan_case = plan_case_new (&texts);
  g_autoptr (GError) error = NULL;
  plan_case->vm.obstacle = (char *)"it is asleep";
  g_autoptr (BkRun) run = plan_case_plan (plan_case, &error);
  plan_case->vm.obstacle = NULL;
  ck_assert_ptr_null (run);
  bk_assert_error (error, BK_ERROR_CONFLICT);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    decides_the_level,
    estimates_no_more_than_the_size,
    notices_that_disks_changed_names,
    plans_the_checkpoint,
    refuses_what_cannot_be,
    refuses_words_that_do_not_exist,
    takes_what_can_be,
    copies_the_top_image_alone,
    finds_since_by_name_and_prefix,
    selects_writable_disks_with_a_medium,
    keeps_the_order_that_was_asked_for,
    goes_full_for_the_broken_disk_alone,
    chooses_the_mode, decides_the_level_in_a_dedup_repository, pulls_into_a_dedup_repository_alone, does_not_pull_what_the_hypervisor_cannot,
    does_not_stop_the_guest_for_one_disk,
    takes_error_actions_when_it_ends_up_direct,
    needs_no_scratch_when_it_is_shut_off, makes_checkpoints_in_images_alone_when_it_is_shut_off, refuses_an_image_that_cannot_be_read,
    adds_nothing_to_a_bitmap_that_has_it_all,
    makes_no_checkpoint_where_none_can_be,
    tells_why_it_is_not_possible_now,
    NULL,
  };
  return bk_suite_run ("plan", tests);
}
