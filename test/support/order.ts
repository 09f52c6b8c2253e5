import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * Unit tests last, since they are short: a long file that begins when all others have ended keeps one core waiting for
 * the other.
 */
export default class ShortLast extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const unit = (file: TestSpecification) => file.moduleId.includes("/test/unit/");
    return [...sorted.filter((file) => !unit(file)), ...sorted.filter(unit)];
  }
}
