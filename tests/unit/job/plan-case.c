/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plan-case.h"

#include "suite.h"

#include <string.h>

/* "ID=VALUE:MARKS" */
typedef struct {
  char *id, *value, *marks;
} Word;

static void
word_free (Word *word)
{
  g_free (word->id);
  g_free (word->value);
  g_free (word->marks);
  g_free (word);
}

static GPtrArray *
words_of (const char *text)
{
  GPtrArray *words = g_ptr_array_new_with_free_func ((GDestroyNotify)word_free);
  g_auto (GStrv) parts = g_strsplit (text ? text : "", " ", -1);
  for (size_t i = 0; parts[i]; i++) {
    if (parts[i][0] == '\0')
      continue;
    g_auto (GStrv) halves = g_strsplit (parts[i], ":", 2);
    g_auto (GStrv) pair = g_strsplit (halves[0], "=", 2);
    Word *word = g_new0 (Word, 1);
    word->id = g_strdup (pair[0]);
    word->value = g_strdup (pair[1] ? pair[1] : "");
    word->marks = g_strdup (halves[1] ? halves[1] : "");
    g_ptr_array_add (words, word);
  }
  return words;
}

static bool
has (const Word *word, char mark)
{
  return strchr (word->marks, mark) != NULL;
}

static char *
bitmap_name (const char *checkpoint)
{
  return g_strdup_printf ("bkd-" CASE_INSTANCE "-cp-%s", checkpoint);
}

static BkDisk *
make_disk (const Word *word)
{
  BkDisk *disk = g_new0 (BkDisk, 1);
  disk->name = g_strdup (word->id);
  disk->aliases = g_new0 (char *, 2);
  disk->aliases[0] = g_strdup_printf ("node-%s", word->id);
  disk->qdev = g_strdup_printf ("/machine/peripheral/%s/virtio-backend", word->id);
  disk->root = g_strdup_printf ("root-%s", word->id);
  disk->node = g_strdup_printf ("node-%s", word->id);
  disk->format = g_strdup (has (word, 'w') ? "raw" : "qcow2");
  disk->file = g_strdup_printf ("/images/%s.img", word->id);
  disk->size = CASE_SIZE;
  disk->read_only = has (word, 'r');
  disk->removable = has (word, 'm');
  disk->empty = has (word, 'e');
  disk->has_backing = has (word, 'b');
  disk->untracked = has (word, 'u') ? g_strdup ("nobody tracks it") : NULL;
  disk->can_persist = !has (word, 'w') && !disk->read_only;
  disk->bitmaps = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_bitmap_free);
  return disk;
}

static BkBitmap *
make_bitmap (const Word *word)
{
  BkBitmap *bitmap = g_new0 (BkBitmap, 1);
  bool foreign = strstr (word->id, "foreign") != NULL;
  bitmap->name = foreign ? g_strdup (word->id) : bitmap_name (word->id);
  bitmap->granularity = 65536;
  bitmap->inconsistent = has (word, 'i');
  bitmap->count = bitmap->inconsistent ? 0 : CASE_DIRTY;
  bitmap->recording = has (word, 'r') || has (word, 'c');
  bitmap->cumulative = has (word, 'c');
  bitmap->busy = has (word, 'b');
  bitmap->persistent = !has (word, 'n');
  return bitmap;
}

static BkCheckpointInfo *
make_checkpoint (const Word *word, const char *parent)
{
  BkCheckpointDisk *entry = g_new0 (BkCheckpointDisk, 1);
  entry->name = g_strdup ("vda");
  entry->bitmap = bitmap_name (word->id);
  entry->parent = has (word, 'g') ? NULL : g_strdup (parent);
  entry->state = g_strdup (has (word, 'p') ? "provisional" : "committed");
  entry->size = has (word, 's') ? 2 * CASE_SIZE : has (word, 't') ? CASE_SIZE / 2 : CASE_SIZE;
  entry->persistent = !has (word, 'n');
  BkCheckpointInfo *checkpoint = g_new0 (BkCheckpointInfo, 1);
  checkpoint->id = g_strdup (word->id);
  checkpoint->vm = g_strdup ("web01");
  checkpoint->backup_id = strcmp (word->value, "-") == 0 ? NULL : g_strdup (word->value);
  checkpoint->disks = g_ptr_array_new ();
  g_ptr_array_add (checkpoint->disks, entry);
  return checkpoint;
}

static BkBackupInfo *
make_backup (const Word *word)
{
  BkBackupDisk *image = g_new0 (BkBackupDisk, 1);
  image->name = g_strdup ("vda");
  image->level = g_strdup (word->value);
  image->state = g_strdup (has (word, 'f') ? "failed" : "completed");
  image->source_file = g_strdup ("/images/vda.img");
  BkBackupInfo *backup = g_new0 (BkBackupInfo, 1);
  const char *original = strchr (word->id, '<');
  backup->id = original ? g_strndup (word->id, (size_t)(original - word->id)) : g_strdup (word->id);
  backup->copy_of = original ? g_strdup (original + 1) : NULL;
  backup->vm = g_strdup ("web01");
  backup->damaged = has (word, 'd');
  backup->disks = g_ptr_array_new ();
  g_ptr_array_add (backup->disks, image);
  return backup;
}

static void
add_history (PlanCase *plan_case, const PlanTexts *texts)
{
  g_autoptr (GPtrArray) checkpoints = words_of (texts->checkpoints);
  const char *parent = NULL;
  for (unsigned i = 0; i < checkpoints->len; i++) {
    const Word *word = checkpoints->pdata[i];
    g_ptr_array_add (plan_case->input.checkpoints, make_checkpoint (word, parent));
    if (!has (word, 'p'))
      parent = word->id;
  }
  g_autoptr (GPtrArray) backups = words_of (texts->backups);
  for (unsigned i = 0; i < backups->len; i++)
    g_ptr_array_add (plan_case->input.backups, make_backup (backups->pdata[i]));
}

static void
add_disks (PlanCase *plan_case, const PlanTexts *texts)
{
  g_autoptr (GPtrArray) disks = words_of (texts->disks ? texts->disks : "vda");
  for (unsigned i = 0; i < disks->len; i++)
    g_ptr_array_add (plan_case->vm.disks, make_disk (disks->pdata[i]));
  g_autoptr (GPtrArray) bitmaps = words_of (texts->bitmaps);
  for (unsigned i = 0; i < bitmaps->len; i++)
    g_ptr_array_add (plan_case_disk (plan_case, "vda")->bitmaps, make_bitmap (bitmaps->pdata[i]));
}

/* Who frees the bitmaps of a disk is not for a table to know: they go first. */
static void
free_disk (BkDisk *disk)
{
  g_ptr_array_unref (g_steal_pointer (&disk->bitmaps));
  bk_disk_free (disk);
}

static BkBackupRequest *
read_request (const char *text)
{
  g_autofree char *document = g_strdup_printf ("{'vm': 'web01'%s%s}", text ? ", " : "", text ? text : "");
  g_strdelimit (document, "'", '"');
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) json = bk_json_parse (document, strlen (document), &error);
  bk_assert_no_error (error);
  BkBackupRequest *request = bk_struct_from_json (&bk_backup_request_struct, json, &error);
  bk_assert_no_error (error);
  return request;
}

PlanCase *
plan_case_new (const PlanTexts *texts)
{
  PlanCase *plan_case = g_new0 (PlanCase, 1);
  plan_case->request = read_request (texts->request);
  plan_case->vm.version = g_strdup ("7.2.22");
  plan_case->vm.disks = g_ptr_array_new_with_free_func ((GDestroyNotify)free_disk);
  plan_case->vm.snapshot_push = plan_case->vm.pull = true;
  plan_case->input.export_folder = "/run/exports";
  plan_case->input.request = plan_case->request;
  plan_case->input.vm = &plan_case->vm;
  plan_case->input.checkpoints = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_checkpoint_info_free);
  plan_case->input.backups = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_backup_info_free);
  plan_case->input.repository = plan_case->request->target ? NULL : "default";
  plan_case->input.dedup = texts->dedup;
  plan_case->input.instance = CASE_INSTANCE;
  plan_case->input.scratch = "/scratch";
  add_disks (plan_case, texts);
  add_history (plan_case, texts);
  return plan_case;
}

void
plan_case_free (PlanCase *plan_case)
{
  bk_backup_request_free (plan_case->request);
  g_ptr_array_unref (plan_case->input.checkpoints);
  g_ptr_array_unref (plan_case->input.backups);
  g_ptr_array_unref (plan_case->vm.disks);
  g_free (plan_case->vm.version);
  g_free (plan_case);
}

BkRun *
plan_case_plan (PlanCase *plan_case, GError **error)
{
  g_autofree char *mode_reason = NULL;
  return bk_plan_backup (&plan_case->input, &mode_reason, error);
}

BkDisk *
plan_case_disk (PlanCase *plan_case, const char *name)
{
  for (unsigned i = 0; i < plan_case->vm.disks->len; i++) {
    BkDisk *disk = plan_case->vm.disks->pdata[i];
    if (strcmp (disk->name, name) == 0)
      return disk;
  }
  ck_abort_msg ("the case has no disk '%s'", name);
  return NULL;
}
