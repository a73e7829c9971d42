-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- The disks of a VM as they were seen last, so that it can be backed up while it is shut off: JSON, NULL until it was seen.
ALTER TABLE vm ADD COLUMN recorded TEXT;
